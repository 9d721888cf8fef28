"""A teacher's distributions in a form that is kept on disk and read again instead of its Signals.

TopK keeps the most probable tokens and all others as one bucket. Without that bucket, with the k
renormalised, a student could move its mass outside of them at no cost.

b batch, t target positions, c positions of a chunk, k tokens kept, v vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp

from distil_jax.objectives.chunks import scan_chunks
from distil_jax.objectives.signals import Signals


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["log_probs", "tokens"],
    meta_fields=["temperature"],
)
@dataclass(frozen=True)
class TopK:
    """The k most probable tokens of each position, and what is left.

    log_probs [b, t, k + 1]: of the tokens, and last of all others together; any float dtype.
    tokens [b, t, k]: their ids, any integer dtype. temperature: by which the logits were divided
    before; the others' sum holds for no other one.
    """

    log_probs: Any
    tokens: Any
    temperature: float = 1.0

    @property
    def positions(self) -> Self:
        return self

    def shown(self, part: Self) -> Self:
        return part


@partial(jax.tree_util.register_dataclass, data_fields=["log_probs"], meta_fields=[])
@dataclass(frozen=True)
class LogProbs:
    """The log-probabilities of all tokens, at temperature 1: as good as the logits.

    log_probs [b, t, v], any float dtype.
    """

    log_probs: Any

    @property
    def positions(self) -> jax.Array:
        return self.log_probs

    def shown(self, part: jax.Array) -> jax.Array:
        return part.astype(jnp.float32)


def top_k(teacher: Signals, k: int, temperature: float, chunk: int) -> TopK:
    """The float32 TopK of Signals, 1 <= k < v. Logits exist for `chunk` positions at a time."""

    def of(logits: jax.Array) -> TopK:
        _, tokens = jax.lax.top_k(logits, k)
        log_probs = jax.nn.log_softmax(logits / temperature, axis=-1)
        return TopK(buckets(log_probs, tokens), tokens, temperature)

    return _by_chunks(of, teacher, chunk)


def log_probs(teacher: Signals, chunk: int) -> LogProbs:
    """The float32 LogProbs of Signals."""
    return _by_chunks(lambda logits: LogProbs(jax.nn.log_softmax(logits, axis=-1)), teacher, chunk)


def buckets(log_probs: jax.Array, tokens: jax.Array) -> jax.Array:
    """The log-probabilities of some tokens, and last of all others together.

    log_probs [..., v]; tokens [..., k] -> [..., k + 1]. The others are added up by themselves:
    what is left of 1 would be lost in rounding where they are improbable.
    """
    tokens = tokens.astype(jnp.int32)
    kept = jnp.take_along_axis(log_probs, tokens, axis=-1)
    without = jnp.put_along_axis(log_probs, tokens, -jnp.inf, axis=-1, inplace=False)
    others = jax.nn.logsumexp(without, axis=-1, keepdims=True)
    return jnp.concatenate([kept, others], axis=-1)


def _by_chunks(function: Callable[[jax.Array], Any], teacher: Signals, chunk: int) -> Any:
    """function(logits [b, c, v]) of all positions, joined again to [b, t, ...]."""

    def add(nothing: None, part: jax.Array) -> tuple[None, Any]:
        return nothing, function(teacher.shown(part))

    return scan_chunks(add, None, teacher.hidden, chunk)[1]
