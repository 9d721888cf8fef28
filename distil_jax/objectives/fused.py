"""Token objectives fused with the head: logits exist for one chunk of positions at a time.

The gradient is taken within the forward pass, chunk by chunk, where the logits are at hand: the
backward pass has nothing to recompute, and keeps only [b, t, d] and [v, d]. That is possible
because a recipe's value is linear in its objectives' sums. Products are in the dtype of the hidden
states with float32 accumulation; logits, softmax and sums are float32.

b batch, t target positions, c positions of a chunk, d model width, v vocabulary.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from distil_jax.objectives.base import TokenObjective
from distil_jax.objectives.signals import Signals, Targets, Teacher

Recipe = tuple[TokenObjective, ...]


def token_sums(
    recipe: Sequence[TokenObjective],
    student: Signals,
    teacher: Teacher,
    targets: Targets,
    chunk: int,
) -> tuple[jax.Array, jax.Array]:
    """The weighted sum of a recipe over all counted tokens, and each objective's own sum.

    Returns (scalar, [objectives]), both float32. Differentiable by the student's hidden states and
    head; the teacher is constant. The sums of the objectives carry no gradient.
    """
    return _sums(tuple(recipe), chunk, student.hidden, student.head, teacher, targets)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _sums(recipe: Recipe, chunk: int, hidden, head, teacher: Teacher, targets: Targets):
    def add(sums: jax.Array, part: tuple) -> tuple[jax.Array, None]:
        hidden, of_teacher, targets = part
        logits = Signals(hidden, head).shown(hidden)
        return sums + _chunk_sums(recipe, logits, teacher.shown(of_teacher), targets), None

    parts = chunks((hidden, teacher.positions, targets), chunk)
    sums, _ = jax.lax.scan(add, jnp.zeros(len(recipe)), parts)
    return _weighted(recipe, sums), sums


def _sums_and_gradient(recipe: Recipe, chunk: int, hidden, head, teacher: Teacher, targets):
    dtype = hidden.dtype

    def add(carry: tuple, part: tuple) -> tuple[tuple, jax.Array]:
        sums, to_head = carry
        hidden, of_teacher, targets = part
        shown = teacher.shown(of_teacher)

        def loss(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
            sums = _chunk_sums(recipe, logits, shown, targets)
            return _weighted(recipe, sums), sums

        to_logits, own = jax.grad(loss, has_aux=True)(Signals(hidden, head).shown(hidden))
        to_logits = to_logits.astype(dtype)
        to_hidden = _product("bcv,vd->bcd", to_logits, head.astype(dtype)).astype(dtype)
        to_head = to_head + _product("bcv,bcd->vd", to_logits, hidden)
        return (sums + own, to_head), to_hidden

    parts = chunks((hidden, teacher.positions, targets), chunk)
    start = jnp.zeros(len(recipe)), jnp.zeros(head.shape, jnp.float32)
    (sums, to_head), to_hidden = jax.lax.scan(add, start, parts)
    value = _weighted(recipe, sums), sums
    return value, (joined(to_hidden, hidden.shape[1]), to_head.astype(head.dtype))


def _scale_gradient(recipe: Recipe, chunk: int, gradients: tuple, cotangent: tuple):
    scale, _ = cotangent
    to_hidden, to_head = ((g * scale).astype(g.dtype) for g in gradients)
    return to_hidden, to_head, None, None


_sums.defvjp(_sums_and_gradient, _scale_gradient)


def _product(letters: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(letters, a, b, preferred_element_type=jnp.float32)


def _chunk_sums(recipe: Recipe, student: jax.Array, teacher: Any, targets: Targets) -> jax.Array:
    losses = [objective.per_token(student, teacher, targets.labels) for objective in recipe]
    return jnp.stack([jnp.where(targets.mask, loss, 0.0).sum() for loss in losses])


def _weighted(recipe: Recipe, sums: jax.Array) -> jax.Array:
    return sums @ jnp.asarray([objective.weight for objective in recipe], jnp.float32)


def chunks(tree, chunk: int):
    """[b, t, ...] -> [t / chunk, b, chunk, ...], padded with zeros (mask False) at the end."""

    def split(x: jax.Array) -> jax.Array:
        batch, time, *rest = x.shape
        count = -(-time // chunk)
        padded = jnp.pad(x, [(0, 0), (0, count * chunk - time), *[(0, 0)] * len(rest)])
        return padded.reshape(batch, count, chunk, *rest).swapaxes(0, 1)

    return jax.tree.map(split, tree)


def joined(parts: jax.Array, time: int) -> jax.Array:
    """The inverse of `chunks` for one array."""
    count, batch, chunk, *rest = parts.shape
    return parts.swapaxes(0, 1).reshape(batch, count * chunk, *rest)[:, :time]
