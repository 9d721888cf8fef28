"""Token objectives fused with the head: logits exist for one chunk of positions at a time.

The gradient is taken within the forward pass, chunk by chunk, where the logits are at hand: the
backward pass has nothing to recompute, and keeps only [b, t, d] and [v, d] of each student. That is
possible because a recipe's value is linear in its objectives' sums. The teacher's logits of a
chunk, and what objectives make of them alone, are computed once for all students. Products are in
the dtype of the hidden states with float32 accumulation; logits, softmax and sums are float32.

b batch, t target positions, c positions of a chunk, d model width, v vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from distil_jax.objectives.base import TokenObjective
from distil_jax.objectives.chunks import Add, scan_chunks, scan_counted
from distil_jax.objectives.signals import Signals, Targets, Teacher

Recipe = tuple[TokenObjective, ...]
Students = dict[str, Signals]


def token_sums(
    recipe: Sequence[TokenObjective],
    students: Mapping[str, Signals],
    teacher: Teacher,
    targets: Targets,
    chunk: int,
    skip_padding: bool = False,
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Of each student, the weighted sum of a recipe over all counted tokens, and each objective's.

    chunk: positions of every clip that make a chunk. skip_padding: leave off where the tokens that
    count end; not for arrays that lie on several devices, which would have to exchange tokens.

    Returns (scalar, [objectives]) by student, both float32. Differentiable by the students' hidden
    states and heads; the teacher is constant. The sums of the objectives carry no gradient.
    """
    scan = Scan(chunk, skip_padding)
    return _sums(tuple(recipe), scan, dict(students), teacher, targets)


@dataclass(frozen=True)
class Scan:
    """How the positions are worked off."""

    chunk: int
    skip_padding: bool

    def __call__(
        self, add: Add, start: Any, students: Students, teacher: Teacher, targets: Targets
    ):
        """add(carry, (hidden states by student, the teacher's positions, targets) of a chunk)."""
        hidden = {name: student.hidden for name, student in students.items()}
        tree = hidden, teacher.positions, targets
        if self.skip_padding:
            return scan_counted(add, start, tree, targets.mask, self.chunk)
        return scan_chunks(add, start, tree, self.chunk)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _sums(recipe: Recipe, scan: Scan, students: Students, teacher: Teacher, targets: Targets):
    def add(sums: dict, part: tuple) -> tuple[dict, None]:
        hidden, of_teacher, targets = part
        shown = teacher.shown(of_teacher)

        def more(name: str) -> jax.Array:
            logits = students[name].shown(hidden[name])
            return sums[name] + _chunk_sums(recipe, logits, shown, targets)

        return {name: more(name) for name in students}, None

    start = {name: jnp.zeros(len(recipe)) for name in students}
    sums, _ = scan(add, start, students, teacher, targets)
    return {name: (_weighted(recipe, own), own) for name, own in sums.items()}


def _sums_and_gradient(
    recipe: Recipe, scan: Scan, students: Students, teacher: Teacher, targets: Targets
):
    def add(carry: dict, part: tuple) -> tuple[dict, dict]:
        hidden, of_teacher, targets = part
        shown = teacher.shown(of_teacher)
        more, to_hidden = {}, {}
        for name, student in students.items():
            seen = Signals(hidden[name], student.head)
            own, to_hidden[name], to_head = _chunk_gradient(recipe, seen, shown, targets)
            sums, to_whole_head = carry[name]
            more[name] = sums + own, to_whole_head + to_head
        return more, to_hidden

    zeros = jnp.zeros(len(recipe))
    start = {name: (zeros, jnp.zeros(s.head.shape, jnp.float32)) for name, s in students.items()}
    done, to_hidden = scan(add, start, students, teacher, targets)
    values = {name: (_weighted(recipe, sums), sums) for name, (sums, _) in done.items()}
    gradients = {
        name: Signals(to_hidden[name], done[name][1].astype(student.head.dtype))
        for name, student in students.items()
    }
    return values, gradients


def _chunk_gradient(
    recipe: Recipe, student: Signals, teacher: Any, targets: Targets
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(the objectives' sums, the gradient's parts by hidden states and by head) of one chunk."""
    dtype = student.hidden.dtype

    def loss(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        sums = _chunk_sums(recipe, logits, teacher, targets)
        return _weighted(recipe, sums), sums

    to_logits, sums = jax.grad(loss, has_aux=True)(student.shown(student.hidden))
    to_logits = to_logits.astype(dtype)
    to_hidden = _product("bcv,vd->bcd", to_logits, student.head.astype(dtype)).astype(dtype)
    return sums, to_hidden, _product("bcv,bcd->vd", to_logits, student.hidden)


def _scale_gradient(recipe: Recipe, scan: Scan, gradients: Students, cotangents: dict):
    def scaled(gradient: Signals, scale: jax.Array) -> Signals:
        return jax.tree.map(lambda g: (g * scale).astype(g.dtype), gradient)

    to_students = {name: scaled(each, cotangents[name][0]) for name, each in gradients.items()}
    return to_students, None, None


_sums.defvjp(_sums_and_gradient, _scale_gradient)


def _product(letters: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(letters, a, b, preferred_element_type=jnp.float32)


def _chunk_sums(recipe: Recipe, student: jax.Array, teacher: Any, targets: Targets) -> jax.Array:
    losses = [objective.per_token(student, teacher, targets.labels) for objective in recipe]
    return jnp.stack([jnp.where(targets.mask, loss, 0.0).sum() for loss in losses])


def _weighted(recipe: Recipe, sums: jax.Array) -> jax.Array:
    return sums @ jnp.asarray([objective.weight for objective in recipe], jnp.float32)
