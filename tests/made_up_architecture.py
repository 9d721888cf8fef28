"""An architecture of one's own, in one file: a Whisper that hears everything at half the volume."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from distil_jax.models import whisper
from distil_jax.models.layers import Compute
from distil_jax.models.whisper import NAME_TABLE, Whisper, WhisperConfig
from distil_jax.models.whisper_flops import decoder_flops, encoder_flops

__all__ = ["FIXED", "NAME_TABLE", "bind", "decoder_flops", "encoder_flops", "init"]

FIXED = ("encoder.positions", "decoder.positions")


class HalvedConfig(WhisperConfig):
    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> "HalvedConfig":
        return cls(**WhisperConfig.from_hf(values).model_dump())

    def to_hf(self) -> dict[str, Any]:
        return {**super().to_hf(), "model_type": "halved"}


class Halved(Whisper):
    def encode(self, samples: jax.Array, wanted: jax.Array | None = None) -> jax.Array:
        return super().encode(samples / 2, wanted)


def init(config: HalvedConfig, seed: int = 0) -> dict:
    return whisper.init(config, seed)


def bind(config: HalvedConfig, compute: Compute, params: dict) -> Halved:
    graph, _ = nnx.split(nnx.eval_shape(lambda: Halved(config, compute, rngs=nnx.Rngs(0))))
    return nnx.merge(graph, params)  # pyright: ignore[reportArgumentType]
