"""Pure losses over Signals. A recipe is a list of them, in a config, each with its weight."""

from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
from pydantic import Field

from distil_jax.objectives.base import LossTerm, Objective, TokenObjective
from distil_jax.objectives.fused import token_sums
from distil_jax.objectives.logits import CrossEntropy, KLDivergence, ZLoss
from distil_jax.objectives.signals import Signals, Targets, Teacher

# Every objective that a config may name: a new one is written in a file of its own, and added here.
AnyObjective = Annotated[CrossEntropy | KLDivergence | ZLoss, Field(discriminator="name")]


def weighted_losses(
    recipe: tuple[LossTerm, ...],
    students: Mapping[str, Signals],
    teacher: Teacher,
    targets: Targets,
    counts: dict[str, jax.Array],
    chunk: int,
    skip_padding: bool = False,
) -> dict[str, tuple[jax.Array, dict[str, jax.Array]]]:
    """A recipe's share of each student's loss on one micro-batch, and each objective's own sum.

    What the recipe takes of the teacher alone is computed once for all students. chunk,
    skip_padding: as of `token_sums`.
    counts: each objective's count over the whole global batch, by name; dividing by it here makes
    the shares of micro-batches and devices add up to the loss of the batch, exactly.
    """
    by_tokens = [o for o in recipe if isinstance(o, TokenObjective)]
    how, losses = (chunk, skip_padding), {}
    fused = token_sums(by_tokens, students, teacher, targets, *how) if by_tokens else {}
    for name, student in students.items():
        loss, sums = jnp.zeros(()), {}
        if by_tokens:
            weighted, own = fused[name]
            loss = loss + weighted / counts[by_tokens[0].name]
            sums = dict(zip([o.name for o in by_tokens], own, strict=True))
        for objective in recipe:
            if isinstance(objective, Objective):
                sums[objective.name] = objective.sum(student, teacher, targets)
                loss = loss + objective.weight * sums[objective.name] / counts[objective.name]
        losses[name] = loss, sums
    return losses
