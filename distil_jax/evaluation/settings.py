"""The settings of evaluation."""

from pydantic import Field

from distil_jax.labelling.settings import DecodeConfig


class EvaluateConfig(DecodeConfig):
    """How teacher and student are compared; both decode alike."""

    # Resamples of the bootstrap behind the 95 % intervals.
    resamples: int = Field(default=2000, ge=100)
