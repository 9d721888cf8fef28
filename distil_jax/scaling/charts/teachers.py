"""Charts of what a teacher does for a student, whoever pays for it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distil_jax.scaling.believed import Believed
from distil_jax.scaling.charts.figure import (
    BLUE,
    INK,
    LOSS,
    ORANGE,
    draw_line,
    figure,
    shade_beyond,
)
from distil_jax.scaling.laws.distillation import TEACHER_LOSS
from distil_jax.scaling.planner import Planner

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ACROSS = 40  # points to each side, of a map of where the runs are


def write_teachers(
    believed: Believed, planner: Planner, size: float, tokens: float, path: Path
) -> None:
    """The student's loss against its teacher's, with the best one and with the break, for three
    numbers of tokens."""
    with figure(path, (7, 4)) as drawn:
        axes = drawn.add_subplot()
        for times, colour in zip((0.1, 1, 10), (ORANGE, BLUE, INK), strict=True):
            _draw_teachers(axes, believed, planner, (size, times * tokens), colour)
        axes.set(
            xlabel="teacher's loss, nats a token",
            ylabel=f"{LOSS}, of {size:.3g} parameters",
        )
        shade_beyond(axes, *believed.students.ranges[TEACHER_LOSS])
        axes.plot([], [], "o", color=INK, markersize=5, label="best teacher")
        axes.plot([], [], **_break_style(believed, INK), label=_break_told(believed, planner))
        axes.legend(frameon=False, labelcolor=INK, title="tokens (dashed: no teacher)", fontsize=8)


def _draw_teachers(
    axes: "Axes", believed: Believed, planner: Planner, student: tuple[float, float], colour: str
) -> None:
    """student: its parameters and tokens."""
    size, tokens = student
    loss, best = planner.best_teacher(size, tokens)
    alone = float(planner.supervised_loss(size, tokens))
    turn = break_at(planner, size, tokens)
    heard = np.linspace(0.8 * best, max(1.6 * best, min(1.05 * turn, 2.2 * best)), 200)
    reached = [
        not believed.students.told(N=size, D=tokens, **{TEACHER_LOSS: each}) for each in heard
    ]
    taught = planner.student_loss(size, tokens, heard)
    draw_line(axes, heard, taught, np.array(reached), colour, f"{tokens:.2g}")
    axes.plot(best, loss, "o", color=colour, markersize=5)
    axes.axhline(alone, color=colour, linestyle="--", linewidth=0.8)
    if heard[0] <= turn <= heard[-1]:
        at_turn = planner.student_loss(size, tokens, turn)
        axes.plot(turn, at_turn, **_break_style(believed, colour))


def break_at(planner: Planner, size: float, tokens: float) -> float:
    """The teacher's loss at the law's break: d1 times what the student reaches alone."""
    return float(planner.distillation["d1"] * planner.supervised_loss(size, tokens))


def _break_style(believed: Believed, colour: str) -> dict:
    """Hollow where the runs do not tell it."""
    style = {"marker": "D", "linestyle": "none", "markersize": 5, "color": colour}
    return style if believed.tells_break else {**style, "markerfacecolor": "white"}


def _break_told(believed: Believed, planner: Planner) -> str:
    told = f"break, if in sight: {planner.distillation['d1']:.3g} × the loss alone"
    return told if believed.tells_break else f"{told}; the runs do not tell it"


def write_gain(
    believed: Believed, planner: Planner, size: float, tokens: float, path: Path
) -> None:
    """What the best teacher, free of charge, takes off the loss of students of a decade to each
    side of `size` and of `tokens`; beyond the line of zero none helps."""
    sizes, counts = (np.geomspace(middle / 10, middle * 10, 60) for middle in (size, tokens))
    across, up = np.meshgrid(sizes, counts)
    lowest = max(planner.limits.teacher_loss, 1.001 * planner.entropy)
    lowest = lowest or 0.2 * float(planner.supervised_loss(size, tokens))  # a fit may have no E
    heard = np.geomspace(lowest, 20 * lowest, 300)
    taught = planner.student_loss(across[..., None], up[..., None], heard).min(axis=-1)
    gain = planner.supervised_loss(across, up) - taught
    with figure(path, (7, 4.4)) as drawn:
        axes = drawn.add_subplot()
        filled = axes.contourf(sizes, counts, gain, levels=12, cmap="viridis")
        if gain.min() < 0 < gain.max():
            axes.contour(sizes, counts, gain, levels=[0.0], colors="white")
        _hatch_beyond(axes, believed, (size, tokens))
        axes.plot(size, tokens, "o", color=ORANGE, markersize=5)
        axes.set(xlabel="student's parameters", ylabel="student's tokens", xscale="log")
        axes.set_yscale("log")
        drawn.colorbar(filled, label="nats a token less than alone")


def _hatch_beyond(axes: "Axes", believed: Believed, around: tuple[float, float]) -> None:
    """Sizes and tokens of which the law has no students, a decade to each side."""
    sizes, counts = (np.geomspace(middle / 10, middle * 10, _ACROSS) for middle in around)
    beyond = [[bool(believed.students.told(N=n, D=d)) for n in sizes] for d in counts]
    hatched = axes.contourf(
        sizes, counts, np.array(beyond, float), levels=[0.5, 1.5], colors="none", hatches=["///"]
    )
    hatched.set_edgecolor("#bbbbbb")
    hatched.set_linewidth(0)
