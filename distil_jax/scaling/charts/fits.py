"""Charts of a fit: how near it is to its runs, and to those that it did not see."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distil_jax.scaling.charts.coefficients import write_pairs, write_profiles
from distil_jax.scaling.charts.figure import BLUE, INK, ORANGE, figure, shade_beyond
from distil_jax.scaling.charts.iso_flops import write_iso_flops
from distil_jax.scaling.fitted import FittedLaw
from distil_jax.scaling.fitting.held_out import HeldOut
from distil_jax.scaling.laws.distillation import TEACHER_LOSS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_PANELS = 9
_OBSERVED, _PREDICTED = "observed loss, nats a token", "predicted loss, nats a token"


CAPTIONS = {
    "fit": "Predicted and observed losses, and the errors by compute; orange: the best runs as a "
    "fit to all others predicts them, which saw no loss where it is shaded",
    "iso_flops": "Runs of equal compute by size; × the law's best size; shaded, dotted: beyond the "
    "runs",
    "held_out": "Runs that the fit did not see: their 90 % intervals, and what they came to; "
    "shaded: losses that no run had which it saw",
    "by_teacher": "Errors by the teacher's loss",
    "profiles": "Profiles of the likelihood; orange: the runs do not tell it; dotted: 90 %",
    "pairs": "The bootstrap's draws: what the coefficients trade",
}


def write_charts(found: FittedLaw, folder: Path) -> None:
    """Those of a law that can be drawn of its file alone, by the names of CAPTIONS."""
    write_fit(found, folder / "fit.png")
    write_held_out(found, folder / "held_out.png")
    write_profiles(found, folder / "profiles.png")
    if found.draws:
        write_pairs(found, folder / "pairs.png")
    if TEACHER_LOSS in found.columns:
        write_by_teacher(found, folder / "by_teacher.png")
    if set(found.columns) == {"N", "D"}:
        write_iso_flops(found, folder / "iso_flops.png")


def write_fit(found: FittedLaw, path: Path) -> None:
    """Predicted against observed losses, and the errors against the compute of the runs.

    With what a fit to weaker runs alone said of the better ones, where that was tried.
    """
    observed, errors = found.observed, 100 * np.expm1(found.residuals)
    with figure(path, (8, 3.4)) as drawn:
        seen, apart = drawn.subplots(1, 2)
        ends = [observed.min(), observed.max()]
        seen.plot(ends, ends, color=INK, linewidth=0.8)
        seen.scatter(
            observed, found.predict(found.columns), s=9, color=BLUE, alpha=0.7, label="fitted"
        )
        seen.set(xlabel=_OBSERVED, ylabel=_PREDICTED)
        for better in extrapolations(found)[:1]:
            seen.scatter(
                *(better.observed, better.predicted),
                **{"s": 12, "color": ORANGE, "marker": "x", "label": "by a fit to the others"},
            )
            seen.legend(frameon=False, labelcolor=INK, fontsize=8)
            assert better.fitted_losses is not None
            shade_beyond(seen, *better.fitted_losses)
        apart.axhline(0, color=INK, linewidth=0.8)
        compute = 6 * found.columns["N"] * found.columns["D"]
        apart.scatter(compute, errors, s=9, color=BLUE, alpha=0.7)
        apart.set(xlabel="6 N D, operations", ylabel="error, %", xscale="log")


def extrapolations(found: FittedLaw) -> list[HeldOut]:
    """Splits whose every run that was held out is better than all that were fitted; most first."""
    beyond = [
        each
        for each in found.held_out
        if each.observed and each.fitted_losses and max(each.observed) <= each.fitted_losses[0]
    ]
    return sorted(beyond, key=lambda each: -each.tested)


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
            _draw_held_out(axes, each)
        for axes in panels[len(splits) :]:
            axes.set_axis_off()


def _draw_held_out(axes: "Axes", each: HeldOut) -> None:
    observed, predicted = np.array(each.observed), np.array(each.predicted)
    seen = each.fitted_losses or (observed.min(), observed.max())
    # As far as the nearest loss that was fitted, so that some of what is not shaded is in sight.
    nearest = float(np.clip(observed.mean(), *seen))
    ends = [min(observed.min(), nearest), max(observed.max(), nearest)]
    axes.plot(ends, ends, color=INK, linewidth=0.8)
    if each.intervals:
        axes.vlines(observed, *np.array(each.intervals).T, color=BLUE, alpha=0.3)
    axes.scatter(observed, predicted, s=9, color=BLUE)
    axes.set(xlabel=_OBSERVED, ylabel=_PREDICTED)
    axes.set_title(f"{each.name}\nmean error {each.mean_error:.1%}", fontsize=8)
    shade_beyond(axes, *seen)


def write_by_teacher(found: FittedLaw, path: Path) -> None:
    """The errors of students against their teachers' loss."""
    with figure(path, (7, 3.4)) as drawn:
        axes = drawn.add_subplot()
        axes.axhline(0, color=INK, linewidth=0.8)
        errors = 100 * np.expm1(found.residuals)
        axes.scatter(found.columns[TEACHER_LOSS], errors, s=9, color=BLUE, alpha=0.7)
        axes.set(xlabel="teacher's loss, nats a token", ylabel="error, %")
