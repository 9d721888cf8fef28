"""Charts of a fit: how near it is to its runs, and how much they tell."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from distil_jax.scaling.charts.figure import BLUE, COLOURS, INK, ORANGE, figure
from distil_jax.scaling.fitting.bootstrap import Sampled
from distil_jax.scaling.fitting.fit import Fit
from distil_jax.scaling.fitting.profile import Profile
from distil_jax.scaling.fitting.runs import Runs
from distil_jax.scaling.laws.distillation import TEACHER_LOSS

_DEEP = 2.706  # where a profile's 90 % interval ends
_SAME_COMPUTE = 0.1  # decades within which runs make one IsoFLOP profile
_FEWEST_SIZES = 3  # of such a profile


def write_fit(found: Fit, path: Path) -> None:
    """Predicted against observed losses, and the errors against the compute of the runs."""
    runs = found.runs.where(found.runs.counted)
    predicted = found.predict(runs.columns)
    with figure(path, (8, 3.4)) as drawn:
        seen, errors = drawn.subplots(1, 2)
        ends = [runs.loss.min(), runs.loss.max()]
        seen.plot(ends, ends, color=INK, linewidth=0.8)
        seen.scatter(runs.loss, predicted, s=9, color=BLUE, alpha=0.7)
        seen.set(xlabel="observed loss", ylabel="predicted loss", xscale="log", yscale="log")
        errors.axhline(0, color=INK, linewidth=0.8)
        compute = 6 * runs.columns["N"] * runs.columns["D"]
        errors.scatter(compute, 100 * (predicted / runs.loss - 1), s=9, color=BLUE, alpha=0.7)
        errors.set(xlabel="6 N D, operations", ylabel="error, %", xscale="log")


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


def write_pairs(sampled: Sampled, path: Path) -> None:
    """Each coefficient of the bootstrap's draws against each other one: what they trade."""
    names = sampled.fit.law.names
    drawn = {name: sampled.coefficient(name) for name in names}
    count = len(names)
    with figure(path, (1.5 * count, 1.4 * count)) as drawn_on:
        panels = drawn_on.subplots(count, count, squeeze=False)
        for row, below in enumerate(names):
            for column, across in enumerate(names):
                axes = panels[row, column]
                if column > row:
                    axes.set_axis_off()
                elif column == row:
                    axes.hist(drawn[below][np.isfinite(drawn[below])], bins=30, color=BLUE)
                    axes.set(title=below, yticks=[])
                else:
                    axes.scatter(drawn[across], drawn[below], s=2, color=BLUE, alpha=0.3)
                axes.tick_params(labelsize=6)


def write_by_teacher(found: Fit, path: Path) -> None:
    """The errors of students against their teachers' loss."""
    runs = found.runs.where(found.runs.counted)
    errors = 100 * (found.predict(runs.columns) / runs.loss - 1)
    with figure(path, (7, 3.4)) as drawn:
        axes = drawn.add_subplot()
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.scatter(runs.columns[TEACHER_LOSS], errors, s=9, color=BLUE, alpha=0.7)
        axes.set(xlabel="teacher's loss", ylabel="error, %")


def iso_flops(runs: Runs) -> list[tuple[float, np.ndarray]]:
    """Budgets 6 N D that runs of several sizes share, about, and which runs those are."""
    compute = np.log10(6 * runs.columns["N"] * runs.columns["D"])
    order = np.argsort(compute)
    cuts = np.flatnonzero(np.diff(compute[order]) > _SAME_COMPUTE / 2) + 1
    groups = np.split(order, cuts)
    return [
        (float(10 ** compute[group].mean()), group)
        for group in groups
        if np.ptp(compute[group]) <= _SAME_COMPUTE
        and len(np.unique(runs.columns["N"][group])) >= _FEWEST_SIZES
    ]


def write_iso_flops(found: Fit, path: Path) -> bool:
    """Runs of equal compute against their size, with the law's curve and its lowest point.

    False where no budget has runs of several sizes: then nothing is written.
    """
    runs = found.runs.where(found.runs.counted)
    profiles = iso_flops(runs)
    if not profiles:
        return False
    sizes = np.geomspace(runs.columns["N"].min() / 2, runs.columns["N"].max() * 2, 200)
    with figure(path, (7, 4)) as drawn:
        axes = drawn.add_subplot()
        for number, (budget, group) in enumerate(profiles):
            colour = COLOURS[number % len(COLOURS)]
            losses = found.predict({"N": sizes, "D": budget / (6 * sizes)})
            best = int(np.argmin(losses))
            label = f"{budget:.1e}"
            axes.scatter(runs.columns["N"][group], runs.loss[group], s=12, color=colour)
            axes.plot(sizes, losses, color=colour, linewidth=1.2, label=label)
            axes.plot(sizes[best], losses[best], "x", color=colour, markersize=7)
        seen = runs.loss[np.concatenate([group for _, group in profiles])]
        axes.set(xlabel="N, parameters", ylabel="loss", xscale="log", yscale="log")
        axes.set_ylim(0.97 * seen.min(), 1.03 * seen.max())
        axes.legend(frameon=False, labelcolor=INK, title="6 N D, operations", fontsize=7)
    return True
