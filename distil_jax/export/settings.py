"""The settings of export."""

from typing import Literal

from pydantic import Field, field_validator

from distil_jax.settings import Settings

Format = Literal["hugging_face", "ctranslate2", "ggml"]


class ExportConfig(Settings):
    # hugging_face for transformers, ctranslate2 for faster-whisper, ggml for whisper.cpp.
    formats: tuple[Format, ...] = Field(default=("hugging_face",), min_length=1)
    # Of the weights for transformers.
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    # Of those for faster-whisper: int8 are matrices of 8 bits with a scale for each row. (Those for
    # whisper.cpp are float16: it takes no others from us.)
    ctranslate2_weights: Literal["float32", "float16", "int8"] = "float32"
    # On how many labelled clips a student's alignment heads are found, for word timestamps: those
    # whose times are nearest to the teacher's. null: none are found, and none are named.
    alignment_clips: int | None = Field(default=24, ge=1)
    # An SPDX id for the model card, such as mit; null where it is not known.
    license: str | None = None

    @field_validator("formats")
    @classmethod
    def _each_once(cls, formats: tuple[Format, ...]) -> tuple[Format, ...]:
        if len(set(formats)) < len(formats):
            raise ValueError("a format stands there twice; each may be listed once")
        return formats
