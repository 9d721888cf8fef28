"""The training loop. It drives anything that keeps to training.state.Algorithm."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import jax

from distil_jax import processes
from distil_jax.errors import Preempted, UserError
from distil_jax.progress import progress
from distil_jax.run import ONLY_STUDENT, append_jsonl, of_student
from distil_jax.training.checkpoint import Checkpoints
from distil_jax.training.preemption import StopRequest
from distil_jax.training.settings import TrainConfig
from distil_jax.training.state import Algorithm, TrainState
from distil_jax.training.telemetry import MetricsLog, Stopwatch, compute_row

log = logging.getLogger(__name__)


Values = dict[str, dict[str, float]]  # the metrics of a step, by student


class Batches(Protocol):
    """Where batches come from: an endless iterator with a position."""

    def __next__(self) -> Any: ...

    def get_state(self) -> dict: ...

    def set_state(self, state: dict) -> None: ...


@dataclass(frozen=True)
class _Update:
    """A step that was sent off: its metrics, still on the devices, and what it took."""

    step: int
    metrics: dict[str, dict[str, jax.Array]]
    counts: dict[str, float]
    flops: dict[str, float]


@dataclass(eq=False)
class Training:
    """One run of an algorithm over batches, from wherever it stands to its last step.

    metrics: the log of each student. place: puts a batch of the host on the devices. count: what a
    batch holds (clips, seconds, tokens), for the compute log. validate: each student's error rate
    in percent, or nothing.
    """

    algorithm: Algorithm
    batches: Batches
    config: TrainConfig
    checkpoints: Checkpoints
    metrics: Mapping[str, MetricsLog]
    compute_path: Path
    place: Callable[[Any], Any]
    count: Callable[[Any], dict[str, float]]
    validate: Callable[[TrainState], dict[str, float]]
    watch: Stopwatch = field(default_factory=Stopwatch)
    _counts: Counter = field(default_factory=Counter)
    _flops: Counter = field(default_factory=Counter)

    def run(self) -> TrainState:
        """Train up to `config.steps`. Killed at any moment and called again, it ends the same."""
        # NOTE: keep the order of what follows: step, look at the step before, log, validate, save.
        state, done = self._begin()
        waiting: _Update | None = None
        bar = progress(total=self.config.steps, description="train", unit="steps", done=done)
        with StopRequest() as request, bar:
            for step in range(done + 1, self.config.steps + 1):
                state, update = self._step(step, state)
                if waiting:
                    bar.advance(1, note=self._look(state, waiting))
                waiting = update
                self.checkpoints.check()
                asked = request.reached(step)
                if asked or step % self.config.save_every == 0 or step == self.config.steps:
                    bar.advance(1, note=self._look(state, waiting))
                    waiting = None
                    self._save(step, state)
                if asked:
                    self._leave(step, request)
        self._log_compute(self.config.steps, {})  # the last validation and checkpoint
        return state

    def _begin(self) -> tuple[TrainState, int]:
        """The latest checkpoint, or a fresh start."""
        restored = self.checkpoints.restore(self.algorithm.abstract_state())
        for metrics in self.metrics.values():
            metrics.rewind(restored.step if restored else 0)
        if restored is None:
            if self.checkpoints.all_lost:
                log.warning("NO SOUND CHECKPOINT IS LEFT: TRAINING STARTS ANEW FROM STEP 0")
            return self.algorithm.init(), 0
        log.info("going on from the checkpoint of step %d", restored.step)
        self.batches.set_state(restored.loader)
        return restored.state, restored.step

    def _step(self, step: int, state: TrainState) -> tuple[TrainState, _Update]:
        with self.watch.measure("data_wait"):
            batch = next(self.batches)
            placed = self.place(batch)
        counts, flops = self.count(batch), self.algorithm.flops(batch)
        # A transfer that nobody asked for would make every step wait for the host.
        with self.watch.measure("step"), jax.transfer_guard("disallow"):
            state, metrics = self.algorithm.step(state, placed)
        return state, _Update(step, metrics, counts, flops)

    def _look(self, state: TrainState, update: _Update) -> str:
        """Wait for a step's metrics, stop if it went wrong, log it if it is its turn."""
        step = update.step
        with self.watch.measure("step"):
            found = jax.device_get(update.metrics)
        values = {name: {k: float(v) for k, v in found[name].items()} for name in self.metrics}
        self._counts.update(update.counts)
        self._flops.update(update.flops)
        unsound = [name for name, each in values.items() if not each.pop("good")]
        if unsound:
            self._stop(state, step, {name: values[name] for name in unsound})
        if step % self.config.log_every == 0 or step == self.config.steps:
            for name, each in values.items():
                self.metrics[name].write(step, "train", each)
            self._log_compute(step, values)
        return "loss " + ", ".join(f"{each['loss']:.4g}" for each in values.values())

    def _stop(self, state: TrainState, step: int, unsound: Values) -> None:
        """The update was not applied: the state is the last sound one. Keep it and say so.

        unsound: the metrics of the students that went wrong.
        """
        kept = int(state.step)
        if kept and kept != self.checkpoints.latest:
            self.checkpoints.save(kept, state, self.batches.get_state(), {})
            then = f"after {kept} updates, which are kept, and past this batch"
        else:
            then = f"after {kept} updates, and comes to this batch again"
        to_any = " to any student" if len(self.metrics) > 1 else ""
        raise UserError(
            f"training stopped at step {step}: {_described(unsound)} (the limit, "
            f"train.exploded_norm, is {self.config.exploded_norm:g}). The update was not "
            f"applied{to_any}; the same command goes on {then}. To train otherwise (a lower "
            f"train.optimizer.learning_rate, a longer warmup_steps) choose another run_dir; look "
            f"at the data around this step first."
        )

    def _save(self, step: int, state: TrainState) -> None:
        error_rates = {}
        if step % self.config.validate_every == 0 or step == self.config.steps:
            with self.watch.measure("evaluation"):
                error_rates = self.validate(state)
            for name, rate in error_rates.items():
                self.metrics[name].write(step, "validation", {"error_rate": rate})
                what = of_student("validation error rate", name)
                log.info("step %d: %s %.2f %%", step, what, rate)
        with self.watch.measure("checkpoint"):
            self.checkpoints.save(step, state, self.batches.get_state(), error_rates)

    def _leave(self, step: int, request: StopRequest) -> None:
        """Being asked to. The step is saved; a validation that was due has been made."""
        self._log_compute(step, {})
        self.checkpoints.wait()
        raise Preempted(
            f"Training was stopped by {request.name} after step {step} of {self.config.steps}, "
            f"which is saved. The same command goes on from there."
        )

    def _log_compute(self, step: int, values: Values) -> None:
        losses = {
            of_student(what, name): value
            for name, each in values.items()
            for what, value in each.items()
            if what not in ("learning_rate", "grad_norm")
        }
        row = compute_row(
            "train", step, dict(self._counts), dict(self._flops), self.watch.take(), losses
        )
        if processes.is_writer():  # the counts are those of all processes
            append_jsonl(self.compute_path, [row])
        self._counts.clear()
        self._flops.clear()


def _described(values: Values) -> str:
    """Loss and gradient norm of each student."""

    def one(name: str, each: dict[str, float]) -> str:
        whose = "" if name == ONLY_STUDENT else f"student {name}, "
        return f"{whose}loss {each['loss']:.4g}, gradient norm {each['grad_norm']:.4g}"

    return "; ".join(one(name, each) for name, each in values.items())
