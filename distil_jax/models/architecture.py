"""What an architecture is: one module of this package, found from its config class."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

from distil_jax.models.layers import Compute
from distil_jax.models.names import Row
from distil_jax.scaling.flops import Flops
from distil_jax.settings import Settings


class ModelConfig(Settings, ABC):
    """The shape of a model that hears 30-second clips and writes tokens."""

    encoder_layers: int
    decoder_layers: int
    vocab_size: int
    max_source_positions: int
    max_target_positions: int
    n_mels: int

    @classmethod
    @abstractmethod
    def from_hf(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """From the dict of a Hugging Face config.json."""

    @abstractmethod
    def to_hf(self) -> dict[str, Any]:
        """The fields of config.json that say what the model computes; the inverse of `from_hf`."""


class Architecture(Protocol):
    """What the module of a config class has; whisper.py is one. `Any` stands for its own classes.

    NAME_TABLE: each parameter's path, Hugging Face name and logical axes. FIXED: branches that are
    never trained.
    """

    NAME_TABLE: tuple[Row, ...]
    FIXED: tuple[str, ...]

    def init(self, config: Any, seed: int = 0) -> dict:
        """Random parameters, float32, as a nested dict."""
        ...

    def bind(self, config: Any, compute: Compute, params: dict) -> Any:
        """The model with these parameters.

        It has `encode`, `encode_excerpt`, `signals`, and a `decoder` to decode with.
        """
        ...

    def encoder_flops(self, config: Any) -> Flops: ...

    def decoder_flops(
        self, config: Any, tokens: int, *, encoder_is_frozen: bool = True
    ) -> Flops: ...


def architecture_of(config: ModelConfig) -> Architecture:
    """The module that a model's config class stands in."""
    module: Any = importlib.import_module(type(config).__module__)
    return module


def decoding_flops(config: ModelConfig, clips: int, tokens: int) -> tuple[float, float]:
    """(encoder, decoder) for clips that are decoded greedily to `tokens` tokens in all.

    Decoding n tokens one by one costs what reading them at once does.
    """
    model = architecture_of(config)
    once, one = (model.decoder_flops(config, positions).forward for positions in (0, 1))
    return clips * model.encoder_flops(config).forward, clips * once + tokens * (one - once)
