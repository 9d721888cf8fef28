"""The chart of runs of equal compute: which size makes the most of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from distil_jax.scaling.charts.figure import COLOURS, INK, LOSS, draw_line, figure, shade_beyond
from distil_jax.scaling.fitted import FittedLaw
from distil_jax.scaling.language_models import APPLE, Shape

_SAME_COMPUTE = 0.1  # decades within which runs make one IsoFLOP profile
_FEWEST_SIZES = 3  # of such a profile


class Counting(NamedTuple):
    """How operations are counted: a_token: of training, by the models' parameters [n] -> [n]."""

    label: str
    a_token: Callable[[np.ndarray], np.ndarray]


def countings(shape: Shape) -> list[Counting]:
    """By the rule of thumb, and by F(N) (language_models.py): tables of runs are made by either."""
    exact = Counting("3 F(N) D", lambda size: 3 * shape.forward_flops(size))
    return [Counting("6 N D", lambda size: 6 * size), exact]


def iso_flops(
    columns: Mapping[str, np.ndarray], counting: Counting
) -> list[tuple[float, np.ndarray]]:
    """Budgets, in operations, that runs of several sizes share, about, and those runs' numbers.

    columns: N and D, each [n].
    """
    compute = np.log10(counting.a_token(columns["N"]) * columns["D"])
    order = np.argsort(compute)
    cuts = np.flatnonzero(np.diff(compute[order]) > _SAME_COMPUTE / 2) + 1
    return [
        (float(10 ** compute[group].mean()), group)
        for group in np.split(order, cuts)
        if np.ptp(compute[group]) <= _SAME_COMPUTE
        and len(np.unique(columns["N"][group])) >= _FEWEST_SIZES
    ]


def write_iso_flops(found: FittedLaw, path: Path) -> None:
    """Runs of equal compute against their size, with the law's curve and its lowest point.

    Operations are counted so that most runs share a budget with others. Nothing is written where
    no budget has runs of several sizes.
    """
    columns, observed = found.columns, found.observed
    each = [(iso_flops(columns, way), way) for way in countings(found.shape or APPLE)]
    profiles, counting = max(each, key=lambda one: sum(len(group) for _, group in one[0]))
    if not profiles:
        return
    sizes = np.geomspace(columns["N"].min() / 2, columns["N"].max() * 2, 200)
    with figure(path, (7, 4)) as drawn:
        axes = drawn.add_subplot()
        for number, (budget, group) in enumerate(profiles):
            colour = COLOURS[number % len(COLOURS)]
            tokens = budget / counting.a_token(sizes)
            losses = found.predict({"N": sizes, "D": tokens})
            points = zip(sizes, tokens, strict=True)
            reached = np.array([not found.domain.beyond(N=n, D=d) for n, d in points])
            best = int(np.argmin(losses))
            axes.scatter(columns["N"][group], observed[group], s=12, color=colour)
            draw_line(axes, sizes, losses, reached, colour, f"{budget:.1e}")
            axes.plot(sizes[best], losses[best], "x", color=colour, markersize=7)
        seen = observed[np.concatenate([group for _, group in profiles])]
        axes.set(xlabel="N, parameters", ylabel=LOSS, xscale="log")
        axes.set_ylim(0.97 * seen.min(), 1.03 * seen.max())
        axes.set_xlim(sizes[0], sizes[-1])
        shade_beyond(axes, *found.domain.ranges["N"])
        axes.legend(
            frameon=False, labelcolor=INK, title=f"{counting.label}, operations", fontsize=7
        )
