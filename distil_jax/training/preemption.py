"""Being asked to stop: the signals that schedulers send before they take a machine away."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

import jax
from jax.experimental import multihost_utils

# Cloud TPU, Kubernetes and Slurm send SIGTERM; `sbatch --signal=USR1@120` sends the other.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Entered around a loop, it turns the first such signal into an answer to `reached`.

    A second one does what it did before, which is to kill. A signal that came after the last
    question is handed on when the loop is left. With several processes (jax.distributed) JAX
    listens in all of them and names one step for them all. Outside the main thread Python has no
    signals, and nothing is changed.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._received: int | None = None

    def __enter__(self) -> Self:
        alone = not jax.distributed.is_initialized()
        if alone and threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()
        if self._received is not None and error is None:
            signal.raise_signal(self._received)

    def reached(self, step: int) -> bool:
        """Whether to save and stop after `step`. All processes ask after every step."""
        if jax.distributed.is_initialized():
            return multihost_utils.reached_preemption_sync_point(step)
        return self._received is not None

    @property
    def name(self) -> str:
        """Who asked."""
        return signal.Signals(self._received).name if self._received else "a preemption notice"

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Only remember it: a handler may run in the middle of anything, a log line too."""
        self._received = number
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            # None stands for a handler that Python did not set and cannot set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
