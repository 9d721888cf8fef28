"""Charts of a fit: how near it is to its runs, and how much they tell."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distil_jax.scaling.charts.figure import BLUE, COLOURS, INK, ORANGE, figure
from distil_jax.scaling.fitted import FittedLaw
from distil_jax.scaling.fitting.profile import Profile
from distil_jax.scaling.laws.distillation import TEACHER_LOSS

_DEEP = 2.706  # where a profile's 90 % interval ends
_SAME_COMPUTE = 0.1  # decades within which runs make one IsoFLOP profile
_FEWEST_SIZES = 3  # of such a profile
_MOST_PANELS = 9


CAPTIONS = {
    "fit": "Predicted and observed losses, and the errors by compute",
    "iso_flops": "Runs of equal compute by size; × the law's best size",
    "held_out": "Runs that the fit did not see: their 90 % intervals, and what they came to",
    "by_teacher": "Errors by the teacher's loss",
    "profiles": "Profiles of the likelihood; orange: the runs do not tell it; dotted: 90 %",
    "pairs": "The bootstrap's draws: what the coefficients trade",
}


def write_charts(found: FittedLaw, folder: Path) -> None:
    """Those of a law that can be drawn of its file alone, by the names of CAPTIONS."""
    write_fit(found, folder / "fit.png")
    write_held_out(found, folder / "held_out.png")
    if found.draws:
        write_pairs(found, folder / "pairs.png")
    if TEACHER_LOSS in found.columns:
        write_by_teacher(found, folder / "by_teacher.png")
    else:
        write_iso_flops(found, folder / "iso_flops.png")


def write_fit(found: FittedLaw, path: Path) -> None:
    """Predicted against observed losses, and the errors against the compute of the runs."""
    observed, errors = found.observed, 100 * np.expm1(found.residuals)
    with figure(path, (8, 3.4)) as drawn:
        seen, apart = drawn.subplots(1, 2)
        ends = [observed.min(), observed.max()]
        seen.plot(ends, ends, color=INK, linewidth=0.8)
        seen.scatter(observed, found.predict(found.columns), s=9, color=BLUE, alpha=0.7)
        seen.set(xlabel="observed loss", ylabel="predicted loss", xscale="log", yscale="log")
        apart.axhline(0, color=INK, linewidth=0.8)
        compute = 6 * found.columns["N"] * found.columns["D"]
        apart.scatter(compute, errors, s=9, color=BLUE, alpha=0.7)
        apart.set(xlabel="6 N D, operations", ylabel="error, %", xscale="log")


def write_held_out(found: FittedLaw, path: Path) -> None:
    """A panel for each of the first kinds of runs that were held out; nothing without any."""
    splits = [each for each in found.held_out if each.observed][:_MOST_PANELS]
    if not splits:
        return
    columns = min(3, len(splits))
    rows = -(-len(splits) // columns)
    with figure(path, (2.8 * columns, 2.8 * rows)) as drawn:
        panels = np.atleast_1d(drawn.subplots(rows, columns)).ravel()
        for axes, each in zip(panels, splits, strict=False):
            observed, predicted = np.array(each.observed), np.array(each.predicted)
            ends = [observed.min(), observed.max()]
            axes.plot(ends, ends, color=INK, linewidth=0.8)
            if each.intervals:
                axes.vlines(observed, *np.array(each.intervals).T, color=BLUE, alpha=0.3)
            axes.scatter(observed, predicted, s=9, color=BLUE)
            axes.set(xlabel="observed loss", ylabel="predicted loss")
            axes.set_title(f"{each.name}\nmean error {each.mean_error:.1%}", fontsize=8)
        for axes in panels[len(splits) :]:
            axes.set_axis_off()


def write_profiles(profiles: Mapping[str, Profile], path: Path) -> None:
    """A panel for each coefficient; orange where the runs do not tell it."""
    columns = 3
    rows = -(-len(profiles) // columns)
    with figure(path, (8, 2.2 * rows)) as drawn:
        panels = np.atleast_1d(drawn.subplots(rows, columns)).ravel()
        for axes, profile in zip(panels, profiles.values(), strict=False):
            colour = BLUE if profile.is_told else ORANGE
            axes.plot(profile.values, profile.falls, color=colour, linewidth=1.4)
            axes.axhline(_DEEP, color=INK, linestyle=":", linewidth=0.8)
            positive = profile.values.min() > 0
            axes.set(
                title=profile.name, ylim=(0, 3 * _DEEP), xscale="log" if positive else "linear"
            )
        for axes in panels[len(profiles) :]:
            axes.set_axis_off()


def write_pairs(found: FittedLaw, path: Path) -> None:
    """Each coefficient of the bootstrap's draws against each other one: what they trade."""
    names, draws = list(found.coefficients), np.array(found.draws).T
    count = len(names)
    with figure(path, (1.5 * count, 1.4 * count)) as drawn:
        panels: Any = drawn.subplots(count, count, squeeze=False)
        for row, column in np.ndindex(count, count):
            axes = panels[row, column]
            axes.tick_params(labelsize=6)
            if column > row:
                axes.set_axis_off()
            elif column == row:
                axes.hist(draws[row], bins=30, color=BLUE)
                axes.set(title=names[row], yticks=[])
            else:
                axes.scatter(draws[column], draws[row], s=2, color=BLUE, alpha=0.3)


def write_by_teacher(found: FittedLaw, path: Path) -> None:
    """The errors of students against their teachers' loss."""
    with figure(path, (7, 3.4)) as drawn:
        axes = drawn.add_subplot()
        axes.axhline(0, color=INK, linewidth=0.8)
        errors = 100 * np.expm1(found.residuals)
        axes.scatter(found.columns[TEACHER_LOSS], errors, s=9, color=BLUE, alpha=0.7)
        axes.set(xlabel="teacher's loss", ylabel="error, %")


def iso_flops(columns: Mapping[str, np.ndarray]) -> list[tuple[float, np.ndarray]]:
    """Budgets 6 N D that runs of several sizes share, about, and which runs those are."""
    compute = np.log10(6 * columns["N"] * columns["D"])
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

    Nothing is written where no budget has runs of several sizes.
    """
    columns, observed = found.columns, found.observed
    profiles = iso_flops(columns)
    if not profiles:
        return
    sizes = np.geomspace(columns["N"].min() / 2, columns["N"].max() * 2, 200)
    with figure(path, (7, 4)) as drawn:
        axes = drawn.add_subplot()
        for number, (budget, group) in enumerate(profiles):
            colour = COLOURS[number % len(COLOURS)]
            losses = found.predict({"N": sizes, "D": budget / (6 * sizes)})
            best = int(np.argmin(losses))
            axes.scatter(columns["N"][group], observed[group], s=12, color=colour)
            axes.plot(sizes, losses, color=colour, linewidth=1.2, label=f"{budget:.1e}")
            axes.plot(sizes[best], losses[best], "x", color=colour, markersize=7)
        seen = observed[np.concatenate([group for _, group in profiles])]
        axes.set(xlabel="N, parameters", ylabel="loss", xscale="log", yscale="log")
        axes.set_ylim(0.97 * seen.min(), 1.03 * seen.max())
        axes.legend(frameon=False, labelcolor=INK, title="6 N D, operations", fontsize=7)
