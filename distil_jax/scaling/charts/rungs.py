"""A chart of a ladder: what its runs came to, alone and with each teacher."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distil_jax.scaling.charts.figure import COLOURS, INK, figure

Rows = Sequence[Mapping[str, Any]]


def write_rungs(rows: Rows, path: Path) -> None:
    """rows: of a ladder's table. Left, losses of runs alone by tokens, a line for each size. Right,
    of students by their teacher's loss, a line for each size and number of tokens; dashed: what the
    same student came to alone."""
    alone = [row for row in rows if row["teacher"] is None]
    students = [row for row in rows if row["teacher"] is not None]
    sizes = sorted({row["N"] for row in rows})
    colours = {size: COLOURS[number % len(COLOURS)] for number, size in enumerate(sizes)}
    with figure(path, (9, 3.8)) as drawn:
        left, right = drawn.subplots(1, 2)
        for size in sorted({row["N"] for row in alone}):
            line = _means(alone, "D", N=size)
            left.plot(*zip(*line, strict=True), "o-", color=colours[size], markersize=3, lw=1.2)
        left.set(xlabel="D, tokens", ylabel="loss alone", xscale="log")
        left.tick_params(axis="x", which="minor", labelbottom=False)
        for size, tokens in sorted({(row["N"], row["D"]) for row in students}):
            heard = _means(students, "teacher_loss", N=size, D=tokens)
            right.plot(*zip(*heard, strict=True), "o-", color=colours[size], markersize=3, lw=1.2)
            right.annotate(f"{tokens:.2g}", heard[0], fontsize=6, color=INK)
            for _, loss in _means(alone, "D", N=size, D=tokens):
                right.axhline(loss, color=colours[size], linestyle="--", linewidth=0.6)
        right.set(xlabel="teacher's loss", ylabel="student's loss after D (dashed: alone)")
        for size in sizes:
            left.plot([], [], color=colours[size], label=f"{size:,}")
        left.legend(frameon=False, labelcolor=INK, title="N, parameters", fontsize=7)


def _means(rows: Rows, by: str, **of: float) -> list[tuple[float, float]]:
    """(a column, the mean loss of the runs with it), in order; of: what they have in common."""
    found: dict[float, list[float]] = {}
    for row in rows:
        if all(row[name] == value for name, value in of.items()):
            found.setdefault(row[by], []).append(row["loss"])
    return [(value, sum(losses) / len(losses)) for value, losses in sorted(found.items())]
