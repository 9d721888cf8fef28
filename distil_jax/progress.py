"""Progress of long work on stderr: a bar in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from functools import cache
from types import TracebackType
from typing import Generic, Self, TypeVar

from rich.console import Console

from distil_jax import processes

SECONDS_BETWEEN_LINES = 10.0

Item = TypeVar("Item")


@cache
def stderr_console() -> Console:
    """The one console on stderr: log lines written by it stand above a running bar."""
    return Console(stderr=True)


def progress(
    iterable: Iterable[Item] | None = None,
    total: int | None = None,
    description: str = "",
    unit: str = "items",
    done: int = 0,
) -> "Progress[Item]":
    """Follow work as it is done, with its rate and the time left.

        for batch in progress(batches, total=40, description="label", unit="batches"): ...

        with progress(total=512, description="label", unit="clips", done=128) as bar:
            bar.advance(16, note="loss 1.23")

    Args:
        iterable: what to walk through; None when the caller calls `advance`.
        total: how many units there are; by default len(iterable) where it has one.
        description: what is being done, one or two words.
        unit: the plural of what is counted.
        done: units that an earlier run did; they count as progress, not as speed.
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)  # pyright: ignore[reportArgumentType]
    return Progress(iterable, total, description, unit, done)


class Progress(Generic[Item]):
    """What `progress` gives: walk through it, or enter it and call `advance`."""

    def __init__(
        self,
        iterable: Iterable[Item] | None,
        total: int | None,
        description: str,
        unit: str,
        done: int,
    ):
        self._iterable = iterable
        self._meter = Meter(total, description, unit, done)
        self._display: _Bar | _Lines | None = None

    def __enter__(self) -> Self:
        terminal = sys.stderr.isatty() and not stderr_console().is_dumb_terminal
        if processes.is_writer():  # of several processes one bar is enough
            self._display = _Bar(self._meter) if terminal else _Lines(self._meter)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._display is not None:
            self._display.close()
            self._display = None

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count `units` more as done; `note` (a loss, a file) stands at the end of the line."""
        self._meter.advance(units, note)
        if self._display is not None:
            self._display.show()

    def __iter__(self) -> Iterator[Item]:
        if self._iterable is None:
            raise TypeError("progress() without an iterable cannot be walked; call advance()")
        with self:
            for item in self._iterable:
                yield item
                self.advance()


class Meter:
    """Counts units and seconds, and says both in words."""

    def __init__(self, total: int | None, description: str, unit: str, done: int = 0):
        self.total, self.description, self.unit = total, description, unit
        self.done = self.before = done
        self.note = ""
        self.started = time.monotonic()

    def advance(self, units: int, note: str) -> None:
        self.done += units
        self.note = note or self.note

    @property
    def rate(self) -> float:
        """Units a second since this process began."""
        seconds = time.monotonic() - self.started
        return (self.done - self.before) / seconds if seconds > 0 else 0.0

    def __str__(self) -> str:
        """`label: 128/512 clips (25%), 6.3 clips/s, 1:01 left`."""
        of = f"/{self.total}" if self.total is not None else ""
        share = f" ({100 * self.done // self.total}%)" if self.total else ""
        parts = [f"{self.done}{of} {self.unit}{share}", f"{self.rate:.3g} {self.unit}/s", self.time]
        return f"{self.description}: " + ", ".join(part for part in [*parts, self.note] if part)

    @property
    def time(self) -> str:
        """The time left, or the time it took."""
        left = None if self.total is None else self.total - self.done
        if left is None or left <= 0:
            return f"took {clock(time.monotonic() - self.started)}"
        return f"{clock(left / self.rate)} left" if self.rate else ""


def clock(seconds: float) -> str:
    """Seconds as 0:07, 12:34 or 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class _Lines:
    """A line at most every ten seconds, and a last one."""

    def __init__(self, meter: Meter):
        self._meter = meter
        self._last = time.monotonic()
        self._said = -1  # how many units were done at the last line

    def show(self) -> None:
        if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._say()

    def close(self) -> None:
        if self._said != self._meter.done:
            self._say()

    def _say(self) -> None:
        self._last, self._said = time.monotonic(), self._meter.done
        print(self._meter, file=sys.stderr, flush=True)  # noqa: T201


class _Bar:
    """A bar that rich redraws in place."""

    def __init__(self, meter: Meter):
        from rich.progress import BarColumn, Progress, TextColumn  # late: 50 ms

        self._meter = meter
        title, words = TextColumn("{task.description}"), TextColumn("{task.fields[words]}")
        title.markup = words.markup = False  # a file name may hold brackets
        self._bar = Progress(title, BarColumn(24), words, console=stderr_console())
        self._task = self._bar.add_task(
            meter.description, total=meter.total, completed=meter.done, words=""
        )
        self._bar.start()

    def show(self) -> None:
        words = str(self._meter).removeprefix(f"{self._meter.description}: ")
        self._bar.update(self._task, completed=self._meter.done, words=words)

    def close(self) -> None:
        self.show()
        self._bar.stop()
