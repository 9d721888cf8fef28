"""For the micro-benchmarks: alternatives in JAX, timed in turn in one process."""

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

Rows = Mapping[str, Mapping[str, float]]


def prepare_process(cores: int) -> None:
    """Before jax is imported: use so many cores, and keep freed memory as training does."""
    from distil_jax.allocator import keep_freed_memory, share_freed_memory

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    share_freed_memory()
    keep_freed_memory()


def seconds(
    alternatives: Mapping[str, tuple[Callable[..., Any], tuple]], rounds: int
) -> dict[str, float]:
    """Medians of (function, inputs), each compiled and run once, then in turn round by round."""
    import jax

    compiled = {name: jax.jit(function) for name, (function, _) in alternatives.items()}
    times: dict[str, list[float]] = {name: [] for name in compiled}
    for number in range(rounds + 1):
        for name, function in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*alternatives[name][1]))
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def report(title: str, rows: Rows, machine: dict[str, Any], as_json: bool) -> None:
    """A line for each row, a column for each alternative."""
    if as_json:
        print(json.dumps({"machine": machine, title: rows}, indent=2))
        return
    for name, value in machine.items():
        print(f"{name}: {value}")
    columns = list(next(iter(rows.values())))
    widths = [max(len(column), 6) + 3 for column in columns]
    first = max(len(name) for name in (title, *rows))
    print(f"\n{title:{first}}" + "".join(f"{c:>{w}}" for c, w in zip(columns, widths, strict=True)))
    for name, row in rows.items():
        numbers = "".join(f"{row[c]:{w}.2f}" for c, w in zip(columns, widths, strict=True))
        print(f"{name:{first}}{numbers}")
