"""Damaged checkpoints: how they are told from other trouble, and where they go."""

import contextlib
import json
import re
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from textwrap import shorten

import jax
from jax.experimental import multihost_utils

SET_ASIDE = "set_aside"  # beside the steps; Orbax looks at folders named by a number
# What TensorStore begins with where the fault is not the checkpoint's.
_STATUS = re.compile("PERMISSION_DENIED|RESOURCE_EXHAUSTED|UNAVAILABLE|DEADLINE_EXCEEDED")


class Damaged(Exception):
    """What is in a checkpoint's folder is not what was saved there."""


def reason(error: BaseException) -> str:
    """In the words of the innermost cause: those around it print whole states."""
    error = _innermost(error)
    return shorten(str(error) or type(error).__name__, 300)


def is_of_the_machine(error: BaseException) -> bool:
    """Whether reading failed for want of memory, permission or connection: no sign of damage."""
    error = _innermost(error)
    if isinstance(error, OSError):
        return not isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
    known = isinstance(error, MemoryError | jax.errors.JaxRuntimeError)
    return known or bool(_STATUS.match(str(error)))


def set_aside(folder: Path, step: int) -> Path:
    """Move a step's folder where no one looks for checkpoints. All processes call it."""
    aside = _free_name(folder, step)
    _all_here("before a checkpoint is set aside")  # each has looked which name is free
    if jax.process_index() == 0:
        _move(folder / str(step), aside)
    _all_here("after a checkpoint is set aside")
    return aside


def set_aside_alone(folder: Path, step: int) -> Path:
    """The same by one process, or by several that do not know of each other."""
    aside = _free_name(folder, step)
    with contextlib.suppress(FileNotFoundError):  # another was faster
        _move(folder / str(step), aside)
    return aside


def with_unreadable_metrics(folder: Path, metric: str) -> Iterator[tuple[int, str]]:
    """(step, what is wrong). Orbax reads the metrics of all steps at once or fails altogether.

    metric: what each of them is called, or begins with where it is one student's (`of_student`).
    """
    for step in sorted(int(p.name) for p in folder.glob("*") if p.name.isdigit()):
        metrics = folder / str(step) / "metrics"
        if not metrics.exists():  # it was not validated
            continue
        try:
            found = dict(json.loads((metrics / "metrics").read_text(encoding="utf-8")))
            for name, value in found.items():
                if name.partition(".")[0] != metric:
                    raise LookupError(f"{name!r} is no {metric}")
                float(value)
        except (OSError, ValueError, TypeError, LookupError) as error:
            if is_of_the_machine(error):
                raise
            yield step, f"its metrics cannot be read ({reason(error)})"


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__:
        error = error.__cause__
    return error


def _free_name(folder: Path, step: int) -> Path:
    names = chain([str(step)], (f"{step}.{again}" for again in count(2)))
    return next(p for p in (folder / SET_ASIDE / name for name in names) if not p.exists())


def _move(path: Path, aside: Path) -> None:
    aside.parent.mkdir(exist_ok=True)
    path.rename(aside)


def _all_here(where: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)
