"""What an objective is: a frozen piece of config that computes a loss as a (sum, count)."""

from abc import ABC, abstractmethod
from typing import Any

import jax

from distil_jax.objectives.signals import Signals, Targets
from distil_jax.settings import Settings


class LossTerm(Settings, ABC):
    """A weighted term of the loss: one of the two kinds below. Subclasses give `name` a Literal."""

    name: str
    weight: float = 1.0

    @abstractmethod
    def count(self, targets: Targets) -> jax.Array:
        """How many things the sum runs over; it may not depend on parameters."""


class Objective(LossTerm):
    """A loss from all that the models show."""

    @abstractmethod
    def sum(self, student: Signals, teacher: Any, targets: Targets) -> jax.Array:
        """The loss summed over what `count` counts. teacher: Signals, or of objectives.stored."""


class TokenObjective(LossTerm):
    """A loss per target token from logits.

    All token objectives of a recipe are computed together, a chunk of positions at a time
    (objectives/fused.py), so that the logits of a batch never stand in memory. All of them count
    the same tokens: `count` is not for subclasses to change.
    """

    def count(self, targets: Targets) -> jax.Array:
        return targets.mask.sum()

    @abstractmethod
    def per_token(self, student: jax.Array, teacher: Any, labels: jax.Array) -> jax.Array:
        """student, teacher [..., v] float32 logits; labels [...] -> loss [...].

        The teacher may also be a TopK (objectives/stored.py), where a run reads a signals cache.
        """
