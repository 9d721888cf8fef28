"""The settings of export."""

from typing import Literal

from distil_jax.settings import Settings


class ExportConfig(Settings):
    # Of the exported weights.
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    # An SPDX id for the model card, such as mit; null where it is not known.
    license: str | None = None
