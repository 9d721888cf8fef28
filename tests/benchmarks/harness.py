"""Times contenders against each other, each in a process of its own (Linux).

So that jax and PyTorch share neither threads nor memory, every contender lives in a worker that
the parent spawns. The parent imports neither; it lets the workers run one at a time, round by round
(A, B, A, B, ...), the others idle: what else the machine does falls on all of them alike.
"""

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from distil_jax.errors import UserError

# Threads of the one that ran last may wait actively for a while (OpenMP: up to 0.2 s).
_PAUSE = 0.4


@dataclass(frozen=True)
class Contender:
    """setup(*arguments), run in the worker, returns the function whose calls are timed."""

    name: str
    setup: Callable[..., Callable[[], Any]]
    arguments: tuple = ()


@dataclass
class Timing:
    """Of one contender. warm_up, results: what its calls returned."""

    name: str
    seconds: list[float] = field(default_factory=list)
    warm_up: list[Any] = field(default_factory=list)
    peak_bytes: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def summary(self) -> dict[str, Any]:
        low, high = min(self.seconds), max(self.seconds)
        figures = {"median": self.median, "min": low, "max": high, "seconds": self.seconds}
        return {"name": self.name, **figures, "peak_bytes": self.peak_bytes}


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--rounds", type=int, default=5, help="timed rounds of each contender")
    made.add_argument("--cores", type=int, default=2, help="CPU cores that a worker may use")
    made.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return made


def aside(function: Callable, *arguments: Any) -> Any:
    """The function's result, from a process of its own: what it imports stays out of this one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except UserError as error:
            sys.exit(str(error))


def measure(
    contenders: Sequence[Contender],
    rounds: int,
    cores: int,
    warm_ups: int = 1,
    check: Callable[[dict[str, Timing]], None] = lambda timings: None,
) -> dict[str, Timing]:
    """Timings by name. check: looks at the results of the warm-up before anything is timed."""
    workers = {c.name: _start(c, cores) for c in contenders}
    timings = {name: Timing(name) for name in workers}
    for number in range(warm_ups + rounds):
        if number == warm_ups:
            check(timings)
        for name, pipe in workers.items():
            time.sleep(_PAUSE)
            pipe.send("run")
            seconds, result, peak_bytes = _answer(name, pipe)
            timing = timings[name]
            timing.peak_bytes = peak_bytes
            if number < warm_ups:
                timing.warm_up.append(result)
            else:
                timing.seconds.append(seconds)
            say(f"round {number - warm_ups + 1} of {rounds}: {name} {seconds:.3f} s")
    return timings


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _start(contender: Contender, cores: int) -> Connection:
    """A worker with its contender set up."""
    context = get_context("spawn")
    pipe, theirs = context.Pipe()
    arguments = (theirs, cores, contender.setup, contender.arguments)
    context.Process(target=_work, args=arguments, daemon=True).start()
    theirs.close()
    _answer(contender.name, pipe)
    return pipe


def _answer(name: str, pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        sys.exit(f"{name}: its process came to an end; see above")


def _work(pipe: Connection, cores: int, setup: Callable, arguments: tuple) -> None:
    """In the worker: set up, then run when told to, until the parent is gone."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    run = setup(*arguments)
    pipe.send("ready")
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        start = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - start
        # In KiB. It begins at the parent's own, which is small because it imports next to nothing.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pipe.send((seconds, result, peak * 1024))
