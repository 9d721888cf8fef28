"""What training carries from step to step: plain arrays, nothing else."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import optax


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["step", "params", "opt_state"],
    meta_fields=[],
)
@dataclass(frozen=True)
class TrainState:
    """All students of a run, who take every step together.

    step: updates done, int32. params: trainable ones only, float32, by student. opt_state: optax's,
    by student.
    """

    step: jax.Array
    params: dict[str, dict]
    opt_state: dict[str, optax.OptState]


class Algorithm(Protocol):
    """One training scheme; the loop drives anything that keeps to this."""

    def init(self) -> TrainState:
        """A fresh state, on its devices."""
        ...

    def abstract_state(self) -> TrainState:
        """Shapes, types and layout of a state, to restore one into."""
        ...

    def step(
        self, state: TrainState, batch: Any
    ) -> tuple[TrainState, dict[str, dict[str, jax.Array]]]:
        """One update. `state` is donated. Each student's metrics are scalars on the device; `good`
        is one of them, False when its loss or gradient was not sound: then no student's update was
        applied."""
        ...

    def flops(self, batch: Any) -> dict[str, float]:
        """Analytic FLOPs of one update by part, for the compute log."""
        ...
