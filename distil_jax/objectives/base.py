"""What an objective is: a frozen piece of config that computes a loss as a (sum, count)."""

import jax

from distil_jax.objectives.signals import Signals, Targets
from distil_jax.settings import Settings


class Objective(Settings):
    """A weighted term of the loss. Subclasses give `name` a Literal and the methods below."""

    name: str
    weight: float = 1.0

    def count(self, targets: Targets) -> jax.Array:
        """How many things the sum runs over; it may not depend on parameters."""
        raise NotImplementedError

    def sum(self, student: Signals, teacher: Signals, targets: Targets) -> jax.Array:
        """The loss summed over what `count` counts."""
        raise NotImplementedError


class TokenObjective(Objective):
    """A loss per target token from logits.

    All token objectives of a recipe are computed together, a chunk of positions at a time
    (objectives/fused.py), so that the logits of a batch never stand in memory. All of them count
    the same tokens: `count` is not for subclasses to change.
    """

    def count(self, targets: Targets) -> jax.Array:
        return targets.mask.sum()

    def per_token(self, student: jax.Array, teacher: jax.Array, labels: jax.Array) -> jax.Array:
        """student, teacher [..., v] float32 logits; labels [...] -> loss [...]."""
        raise NotImplementedError
