"""Checkpoints by Orbax: state and loader position together, the best and the latest kept."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from orbax.checkpoint import v1 as ocp

from distil_jax.errors import UserError
from distil_jax.training.state import TrainState

_ERROR_RATE = "error_rate"


@dataclass(frozen=True)
class Restored:
    state: TrainState
    loader: dict
    step: int


class Checkpoints:
    """The checkpoints of one run. A save is whole or absent, whenever the process dies.

    fingerprint: what the training is made of; checkpoints made of something else are an error.
    """

    def __init__(self, folder: Path, fingerprint: str, keep_latest: int, keep_best: int):
        policies: Any = ocp.training.preservation_policies
        best = policies.BestN(
            get_metric_fn=lambda metrics: metrics[_ERROR_RATE],
            reverse=True,
            n=keep_best,
            keep_checkpoints_without_metrics=False,
        )
        keep = policies.AnyPreservationPolicy([policies.LatestN(keep_latest), best])
        decisions: Any = ocp.training.save_decision_policies
        self._folder, self._fingerprint = folder, fingerprint
        try:
            self._checkpointer: Any = ocp.training.Checkpointer(
                str(folder.resolve()),
                save_decision_policy=decisions.FixedIntervalPolicy(1),
                preservation_policy=keep,
            )
        except ValueError as error:  # the metrics of all checkpoints are read at once
            raise _unreadable(f"the newest checkpoint in {folder}", error) from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self._checkpointer.close()

    def claim(self) -> None:
        """Raises UserError when what is there was made of something else."""
        if self.latest is not None:
            self._reading(self.latest, self._check)

    def save(self, step: int, state: TrainState, loader: dict, error_rate: float | None) -> None:
        """Copy the state off the devices, then write it in the background."""
        metrics = None if error_rate is None else {_ERROR_RATE: error_rate}
        if self.latest == step:
            return
        self._checkpointer.save_checkpointables_async(
            step,
            {"state": state, "loader": loader},
            metrics=metrics,
            custom_metadata={"fingerprint": self._fingerprint},
        )

    @property
    def latest(self) -> int | None:
        return self._checkpointer.latest.step if self._checkpointer.latest else None

    @property
    def best(self) -> int | None:
        """The step with the lowest validation error, the latest of equals; else the latest step."""
        rates = {
            c.step: c.metrics[_ERROR_RATE]
            for c in self._checkpointer.checkpoints
            if c.metrics and math.isfinite(c.metrics[_ERROR_RATE])
        }
        if not rates:
            return self.latest
        return max(step for step, rate in rates.items() if rate == min(rates.values()))

    def restore(self, like: TrainState, step: int | None) -> Restored | None:
        """The state at `step` (None: nothing), laid out on devices as `like` is (abstract)."""
        if step is None:
            return None

        def load(step: int) -> dict:
            self._check(step)
            return self._checkpointer.load_checkpointables(step, {"state": like, "loader": None})

        loaded = self._reading(step, load)
        return Restored(loaded["state"], loaded["loader"], step)

    def _reading(self, step: int, read: Callable[[int], Any]) -> Any:
        try:
            return read(step)
        except UserError:
            raise
        except Exception as error:  # whatever Orbax meets in a damaged folder
            raise _unreadable(f"checkpoint {self._folder / str(step)}", error) from error

    def _check(self, step: int) -> None:
        metadata = self._checkpointer.checkpointables_metadata(step).custom_metadata
        if not metadata:
            raise ValueError("it does not say what it was made of")
        if metadata["fingerprint"] != self._fingerprint:
            raise UserError(
                f"{self._folder} holds checkpoints of a training with other settings, labels or "
                f"teacher. Choose another run_dir, or remove that folder to train anew."
            )


def _unreadable(what: str, error: BaseException) -> UserError:
    """In the words of the innermost cause: those around it print whole states."""
    while error.__cause__:
        error = error.__cause__
    reason = shorten(str(error) or type(error).__name__, 300)
    return UserError(
        f"{what} cannot be read: {reason}\nRemove its folder and run the same command again: it "
        f"goes on from the checkpoint before it."
    )
