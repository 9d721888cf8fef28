"""Checkpoints by Orbax: state and loader position together, the best and the latest kept."""

import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
from orbax.checkpoint import v1 as ocp

from distil_jax.errors import UserError, disk_is_full
from distil_jax.run import ONLY_STUDENT, of_student
from distil_jax.training.damage import (
    SET_ASIDE,
    Damaged,
    is_of_the_machine,
    reason,
    set_aside,
    set_aside_alone,
    with_unreadable_metrics,
)
from distil_jax.training.seal import check_contents, check_seal, forms, make_seal, sealed_forms
from distil_jax.training.state import TrainState

log = logging.getLogger(__name__)
Read = TypeVar("Read")

_ERROR_RATE = "error_rate"


@dataclass(frozen=True)
class Restored:
    state: TrainState
    loader: dict
    step: int


class Checkpoints:
    """The checkpoints of one run. A save is whole or absent, whenever the process dies.

    A damaged checkpoint that is asked for is moved to `set_aside`, with a warning, and the one
    before it is taken. All processes call all methods alike; process 0 moves and removes.

    fingerprint: what the training is made of; checkpoints made of something else are an error.
    students: their names; the best `keep_best` of each are kept, and the latest.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        keep_latest: int,
        keep_best: int,
        students: Sequence[str] = (ONLY_STUDENT,),
    ):
        self._folder, self._fingerprint = folder, fingerprint
        self._saving: tuple[int, int] | None = None  # step and bytes of what is being written
        for step, damage in list(with_unreadable_metrics(folder, _ERROR_RATE)):
            _warn(folder / str(step), damage, set_aside(folder, step))
        decisions: Any = ocp.training.save_decision_policies
        self._checkpointer: Any = ocp.training.Checkpointer(
            str(folder.resolve()),
            save_decision_policy=decisions.FixedIntervalPolicy(1),
            preservation_policy=_preservation(keep_latest, keep_best, students),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.wait()
        finally:
            self._checkpointer.close()

    def claim(self) -> None:
        """Raises UserError when what is there was made of something else."""
        self._soundly(lambda: self.latest, self._seal)

    @property
    def latest(self) -> int | None:
        return self._checkpointer.latest.step if self._checkpointer.latest else None

    def best(self, student: str = ONLY_STUDENT) -> int | None:
        """The step with a student's lowest validation error, the latest of equals; else the latest
        step."""
        saved = self._checkpointer.checkpoints
        rates = {c.step: _rank(student, c.metrics) for c in saved if c.metrics}
        lowest = min(rates.values(), default=math.inf)
        if lowest == math.inf:
            return self.latest
        return max(step for step, rate in rates.items() if rate == lowest)

    @property
    def all_lost(self) -> bool:
        """Whether there were checkpoints, and damage left none of them."""
        return self.latest is None and any((self._folder / SET_ASIDE).glob("*"))

    def restore(self, like: TrainState) -> Restored | None:
        """The latest sound state, laid out on devices as `like` is (abstract).

        Raises ValueError when a layout does not fit its shape, UserError as `claim` does.
        """
        _check_layout(like)

        def read(step: int) -> Restored:
            seal = self._seal(step)
            self._check_forms(step, seal, like)
            loaded = self._checkpointer.load_checkpointables(step, {"state": like, "loader": None})
            check_contents(seal, loaded["state"], loaded["loader"])
            return Restored(loaded["state"], loaded["loader"], step)

        return self._soundly(lambda: self.latest, read)

    def best_params(
        self, like: TrainState, student: str = ONLY_STUDENT
    ) -> tuple[dict[str, dict], int] | None:
        """(a student's parameters under its name, step) of its best sound checkpoint.

        They are laid out as `like` is (abstract). The optimizer's moments, two thirds of the bytes,
        and the other students are not read.
        """
        _check_layout(like)
        left_out = jax.tree.map(lambda _: ocp.PLACEHOLDER, like)
        own = {student: like.params[student]}
        wanted = replace(left_out, params={**left_out.params, **own})

        def read(step: int) -> tuple[dict[str, dict], int]:
            seal = self._seal(step)
            self._check_forms(step, seal, like)
            loaded = self._checkpointer.load_checkpointables(step, {"state": wanted})["state"]
            params = {student: loaded.params[student]}
            check_contents(seal, replace(like, step=None, params=params, opt_state=None))
            return params, step

        return self._soundly(lambda: self.best(student), read)

    def save(
        self, step: int, state: TrainState, loader: dict, error_rates: Mapping[str, float]
    ) -> None:
        """Copy the state off the devices, then write it in the background.

        error_rates: by student; empty where nothing was validated.
        """
        rates = {of_student(_ERROR_RATE, name): rate for name, rate in error_rates.items()}
        metrics = rates or None
        if self.latest == step:
            return
        self.wait()
        seal = make_seal(self._fingerprint, state, loader, metrics)
        self._saving = (step, sum(array.nbytes for array in jax.tree.leaves(state)))
        try:
            self._checkpointer.save_checkpointables_async(
                step, {"state": state, "loader": loader}, metrics=metrics, custom_metadata=seal
            )
        except Exception as error:
            raise self._not_saved(error) from error

    def check(self) -> None:
        """Raises UserError when a save in the background failed; waits for none."""
        if self._saving and not self._checkpointer.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Wait until all is written. Raises UserError when it could not be."""
        try:
            self._checkpointer.wait()
        except Exception as error:
            raise self._not_saved(error) from error
        self._saving = None

    def _not_saved(self, error: BaseException) -> UserError:
        """Remove what was half written, and say what is kept."""
        step, size = self._saving or (0, 0)
        self._saving = None
        if jax.process_index() == 0:
            for left in self._folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(left, ignore_errors=True)
        kept = [c.step for c in self._checkpointer.checkpoints if c.step != step]
        last = f"The last good one is step {max(kept)}." if kept else "There is none before it."
        what = f"the checkpoint of step {step} could not be written to {self._folder}"
        then = "the same command goes on from the last good checkpoint"
        if not disk_is_full(error):
            return UserError(f"{what}: {reason(error)}\n{last} Once that is mended, {then}.")
        free = shutil.disk_usage(self._folder).free
        return UserError(
            f"disk full: {what}. It takes about {_size(size)}; the disk has {_size(free)} free, a "
            f"quota may allow less. {last} Make room (a smaller train.keep_latest helps), and "
            f"{then}."
        )

    def _seal(self, step: int) -> dict:
        """What the checkpoint says of itself. Raises UserError when it is of another training."""
        try:
            found = self._checkpointer.checkpointables_metadata(step)
        except Exception as error:  # as in `_soundly`
            raise Damaged(self._damage(step, error)) from error
        check_seal(found.custom_metadata, found.metrics)
        if found.custom_metadata["fingerprint"] != self._fingerprint:
            raise UserError(
                f"{self._folder} holds checkpoints of a training with other settings, labels or "
                f"teacher. Choose another run_dir, or remove that folder to train anew."
            )
        return found.custom_metadata

    def _check_forms(self, step: int, seal: dict, like: TrainState) -> None:
        saved, wanted = dict(sealed_forms(seal)), dict(forms(like))
        if saved == wanted:
            return
        name = min(n for n in saved | wanted if saved.get(n) != wanted.get(n))
        raise UserError(
            f"the checkpoint of step {step} in {self._folder} is of another version of distil_jax: "
            f"{name} is {saved.get(name, 'not there')}, expected {wanted.get(name, 'nothing')}. Go "
            f"on with the version that wrote it, or choose another run_dir."
        )

    def _soundly(
        self, choose: Callable[[], int | None], read: Callable[[int], Read]
    ) -> Read | None:
        """What is read of the chosen step; damaged ones are set aside, and the choice made anew."""
        while (step := choose()) is not None:
            try:
                return read(step)
            except UserError:
                raise
            except Damaged as error:  # every process has found the same
                damage = str(error)
            except Exception as error:  # whatever Orbax meets in a damaged folder
                damage = self._damage(step, error)
                if jax.process_count() > 1:
                    raise self._found_alone(step, damage) from error
            aside = set_aside(self._folder, step)
            self._checkpointer.reload()
            _warn(self._folder / str(step), damage, aside)
        return None

    def _found_alone(self, step: int, damage: str) -> UserError:
        """Other processes may have read their part, and wait for this one to have read its own."""
        aside = set_aside_alone(self._folder, step)
        return UserError(
            f"checkpoint {self._folder / str(step)} is damaged: {damage}. It was set aside as "
            f"{aside}. All processes end here; the same command goes on from the one before."
        )

    def _damage(self, step: int, error: Exception) -> str:
        """What is wrong with a checkpoint. Raises UserError when it is the machine's fault."""
        if is_of_the_machine(error):
            raise UserError(
                f"checkpoint {self._folder / str(step)} cannot be read: {reason(error)}\n"
                f"It may be sound, and stays where it is. Once that is mended, the same command "
                f"goes on."
            ) from error
        return reason(error)


def _preservation(keep_latest: int, keep_best: int, students: Sequence[str]) -> Any:
    policies: Any = ocp.training.preservation_policies
    # Sorted downwards and stable, the last are the lowest, and of equals the latest.
    best = [
        policies.BestN(
            get_metric_fn=partial(_rank, student),
            reverse=True,
            n=keep_best,
            keep_checkpoints_without_metrics=False,
        )
        for student in students
    ]
    return policies.AnyPreservationPolicy([policies.LatestN(keep_latest), *best])


def _rank(student: str, metrics: Mapping[str, float]) -> float:
    """A student's error rate; infinite where there is none."""
    rate = metrics.get(of_student(_ERROR_RATE, student), math.inf)
    return rate if math.isfinite(rate) else math.inf  # NaN has no place in an order


def _check_layout(like: TrainState) -> None:
    """Before anything is read: a wrong layout would look like damage in every checkpoint."""
    for array in jax.tree.leaves(like):
        array.sharding.shard_shape(array.shape)


def _warn(folder: Path, damage: str, aside: Path) -> None:
    log.warning("checkpoint %s is damaged: %s. It was set aside as %s", folder, damage, aside)


def _size(count: int) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e8 else f"{count / 1e6:.3g} MB"
