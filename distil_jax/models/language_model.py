"""A decoder-only language model, as those of the distillation scaling laws.

Busbridge et al. 2025 (arXiv:2502.08606), appendices G and H: RMS norms before each part and on
queries and keys, rotary positions, a gated MLP, no biases. In Hugging Face's words it is a Qwen3.
b batch, t tokens, d model width, f MLP width, h heads, k head width, v vocabulary.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from pydantic import Field, model_validator

from distil_jax.models.attention import attend
from distil_jax.models.language_model_names import NAME_TABLE as NAME_TABLE
from distil_jax.models.layers import Compute, Linear, apply_stack, stack
from distil_jax.objectives.signals import Signals
from distil_jax.scaling.flops import Flops, attention, linear
from distil_jax.settings import Settings

_ROTARY_BASE = 500_000.0
_EPSILON = 1e-6


class LanguageModelConfig(Settings):
    """The shape of a model. context: the most tokens that it reads at once."""

    vocab_size: int = Field(ge=1)
    layers: int = Field(ge=1)
    width: int = Field(ge=2)
    heads: int = Field(ge=1)
    mlp_width: int = Field(ge=1)
    context: int = Field(ge=1)

    @model_validator(mode="after")
    def _divides(self) -> "LanguageModelConfig":
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} is no multiple of twice the heads ({self.heads}): each head "
                f"turns pairs of numbers"
            )
        return self

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def to_hf(self) -> dict[str, Any]:
        """config.json of the same model in transformers."""
        return {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "vocab_size": self.vocab_size,
            "hidden_size": self.width,
            "intermediate_size": self.mlp_width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "head_dim": self.head_width,
            "max_position_embeddings": self.context,
            "rms_norm_eps": _EPSILON,
            "rope_parameters": {"rope_type": "default", "rope_theta": _ROTARY_BASE},
            "attention_bias": False,
            "hidden_act": "silu",
            "tie_word_embeddings": False,
        }


class RMSNorm(nnx.RMSNorm):
    """Float32 statistics. [..., d] -> [..., d] float32."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        super().__init__(width, epsilon=_EPSILON, dtype=jnp.float32, rngs=rngs)


def rotated(x: jax.Array) -> jax.Array:
    """Each pair (i, i + k/2) turned by position times its frequency. [b, h, t, k] -> the same.

    Su et al. 2021 (arXiv:2104.09864), with the pairs of GPT-NeoX.
    """
    time, width = x.shape[2:]
    frequency = _ROTARY_BASE ** (-jnp.arange(0, width, 2) / width)
    angle = jnp.arange(time)[:, None] * frequency
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    one, other = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([one * cos - other * sin, other * cos + one * sin], axis=-1)


class SelfAttention(nnx.Module):
    """Causal. [b, t, d] -> [b, t, d]."""

    def __init__(self, config: LanguageModelConfig, compute: Compute, rngs: nnx.Rngs):
        self.heads, width = config.heads, config.width
        self.query, self.key, self.value, self.out = (
            Linear(width, width, compute.dtype, rngs, bias=False) for _ in range(4)
        )
        self.query_norm = RMSNorm(config.head_width, rngs)
        self.key_norm = RMSNorm(config.head_width, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        batch, time, width = x.shape

        def split(projected: jax.Array) -> jax.Array:
            return projected.reshape(batch, time, self.heads, -1).swapaxes(1, 2)

        query, key, value = (split(each(x)) for each in (self.query, self.key, self.value))
        query = rotated(self.query_norm(query)).astype(value.dtype)
        keys = rotated(self.key_norm(key)).astype(value.dtype).swapaxes(2, 3)
        mixed = attend(query, keys, value, jnp.tril(jnp.ones((time, time), bool)))
        return self.out(mixed.swapaxes(1, 2).reshape(batch, time, width))


class GatedMLP(nnx.Module):
    """down(silu(gate(x)) up(x)): Shazeer 2020, arXiv:2002.05202. [b, t, d] -> [b, t, d]."""

    def __init__(self, width: int, hidden: int, dtype: str, rngs: nnx.Rngs):
        self.gate = Linear(width, hidden, dtype, rngs, bias=False)
        self.up = Linear(width, hidden, dtype, rngs, bias=False)
        self.down = Linear(hidden, width, dtype, rngs, bias=False)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


class Block(nnx.Module):
    """[b, t, d] -> [b, t, d]"""

    def __init__(self, config: LanguageModelConfig, compute: Compute, rngs: nnx.Rngs):
        self.attention_norm = RMSNorm(config.width, rngs)
        self.attention = SelfAttention(config, compute, rngs)
        self.mlp_norm = RMSNorm(config.width, rngs)
        self.mlp = GatedMLP(config.width, config.mlp_width, compute.dtype, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(self.attention_norm(x).astype(x.dtype))
        return x + self.mlp(self.mlp_norm(x).astype(x.dtype))


class LanguageModel(nnx.Module):
    """Tokens to final hidden states; the head makes logits of them."""

    def __init__(self, config: LanguageModelConfig, compute: Compute, *, rngs: nnx.Rngs):
        self.compute = compute
        shape = config.vocab_size, config.width
        self.embedding = nnx.Param(nnx.initializers.normal(1.0)(rngs.params(), shape))
        self.blocks = stack(lambda rngs: Block(config, compute, rngs), config.layers, rngs)
        self.norm = RMSNorm(config.width, rngs)
        self.head = nnx.Param(jnp.zeros(shape))

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """[b, t] -> [b, t, d]"""
        x = self.embedding[...][tokens].astype(jnp.dtype(self.compute.dtype))
        x = apply_stack(self.blocks, x, self.compute.remat)
        return self.norm(x).astype(x.dtype)

    def signals(self, tokens: jax.Array) -> Signals:
        """Tokens [b, t] -> what the objectives look at."""
        return Signals(self(tokens), self.head[...])


@lru_cache
def _graph(config: LanguageModelConfig, compute: Compute) -> nnx.GraphDef:
    model = nnx.eval_shape(lambda: LanguageModel(config, compute, rngs=nnx.Rngs(0)))
    return nnx.split(model)[0]


def bind(config: LanguageModelConfig, compute: Compute, params: dict) -> LanguageModel:
    """The module with these parameters; they may be arrays or tracers, in any dtype."""
    return nnx.merge(_graph(config, compute), params)  # pyright: ignore[reportArgumentType]


def init(config: LanguageModelConfig, seed: int = 0) -> dict:
    """Random parameters, float32, as a nested dict: at first every token is as likely."""
    model = LanguageModel(config, Compute(), rngs=nnx.Rngs(seed))
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def shapes(config: LanguageModelConfig) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Of all parameters, by their paths."""
    flat: Any = flatten_dict(jax.eval_shape(lambda: init(config)))
    return {path: array.shape for path, array in flat.items()}


def sizes(config: LanguageModelConfig) -> tuple[int, int]:
    """(parameters without embedding and head: the N of the scaling laws; all parameters)."""
    counts = {path: prod(shape) for path, shape in shapes(config).items()}
    total = sum(counts.values())
    return total - counts["embedding",] - counts["head",], total


def learning_rate_scales(params: dict, width: int, base_width: int) -> dict:
    """By how much each parameter's learning rate differs, so that one rate does for all widths.

    That of matrices falls with what goes into them: muP in the simple form of Wortsman et al. 2023
    (arXiv:2309.14322), appendix B; embedding and norms keep the base's.
    """
    flat: Mapping = flatten_dict(params)
    falls = {path: path[-1] in ("kernel", "head") for path in flat}
    return unflatten_dict({p: base_width / width if falls[p] else 1.0 for p in flat})


def flops(config: LanguageModelConfig, tokens: int) -> Flops:
    """One sequence of so many tokens, head included."""
    width = config.width
    block = linear(tokens, width, width) * 4 + attention(tokens, tokens, width)
    block += linear(tokens, width, config.mlp_width) * 3
    return block * config.layers + linear(tokens, width, config.vocab_size)
