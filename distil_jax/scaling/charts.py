"""Charts of a fitted law and of plans by it, as PNG."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distil_jax.run import atomic_path
from distil_jax.scaling.bill import SCENARIOS
from distil_jax.scaling.fitting.fit import Fit
from distil_jax.scaling.fitting.profile import Profile
from distil_jax.scaling.planner import Planner

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _INK = "#2a8fb0", "#d9822b", "#333333"
_COLOURS = (_INK, _BLUE, _ORANGE, "#6a4c93", "#5b8c5a", "#b5446e")
_DEEP = 2.706  # where a profile's 90 % interval ends


def write_fit(found: Fit, path: Path) -> None:
    """Predicted against observed losses, and the errors against the compute of the runs."""
    runs = found.runs.where(found.runs.counted)
    predicted = found.predict(runs.columns)
    with _figure(path, (8, 3.4)) as figure:
        seen, errors = figure.subplots(1, 2)
        ends = [runs.loss.min(), runs.loss.max()]
        seen.plot(ends, ends, color=_INK, linewidth=0.8)
        seen.scatter(runs.loss, predicted, s=9, color=_BLUE, alpha=0.7)
        seen.set(xlabel="observed loss", ylabel="predicted loss", xscale="log", yscale="log")
        errors.axhline(0, color=_INK, linewidth=0.8)
        compute = 6 * runs.columns["N"] * runs.columns["D"]
        errors.scatter(compute, 100 * (predicted / runs.loss - 1), s=9, color=_BLUE, alpha=0.7)
        errors.set(xlabel="6 N D, operations", ylabel="error, %", xscale="log")


def write_profiles(profiles: Mapping[str, Profile], path: Path) -> None:
    """A panel for each coefficient; orange where the runs do not tell it."""
    columns = 3
    rows = -(-len(profiles) // columns)
    with _figure(path, (8, 2.2 * rows)) as figure:
        panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        for axes, profile in zip(panels, profiles.values(), strict=False):
            colour = _BLUE if profile.is_told else _ORANGE
            axes.plot(profile.values, profile.falls, color=colour, linewidth=1.4)
            axes.axhline(_DEEP, color=_INK, linestyle=":", linewidth=0.8)
            positive = profile.values.min() > 0
            axes.set(
                title=profile.name, ylim=(0, 3 * _DEEP), xscale="log" if positive else "linear"
            )
        for axes in panels[len(profiles) :]:
            axes.set_axis_off()


def write_scenarios(planner: Planner, size: float, around: float, path: Path) -> None:
    """The loss of a student of `size` against compute, two decades to each side of `around`."""
    budgets = np.geomspace(around / 100, around * 100, 25)
    with _figure(path, (7, 4)) as figure:
        axes = figure.add_subplot()
        for scenario, colour in zip((None, *SCENARIOS), _COLOURS, strict=False):
            losses = np.array([planner.best_loss(budget, size, scenario) for budget in budgets])
            name = scenario.name if scenario else "supervised"
            losses = np.where(np.isfinite(losses), losses, np.nan)
            axes.plot(budgets, losses, color=colour, linewidth=1.4, label=name)
        axes.axvline(around, color=_INK, linestyle=":", linewidth=0.8)
        axes.set(xlabel="operations", ylabel=f"loss of {size:.3g} parameters", xscale="log")
        axes.legend(frameon=False, labelcolor=_INK)


def write_teachers(planner: Planner, size: float, tokens: float, path: Path) -> None:
    """The student's loss against its teacher's, with the best one, for three numbers of tokens."""
    with _figure(path, (7, 4)) as figure:
        axes = figure.add_subplot()
        for times, colour in zip((0.1, 1, 10), (_ORANGE, _BLUE, _INK), strict=True):
            loss, best = planner.best_teacher(size, times * tokens)
            heard = np.linspace(0.8 * best, 1.6 * best, 200)
            reached = planner.student_loss(size, times * tokens, heard)
            axes.plot(heard, reached, color=colour, linewidth=1.4, label=f"{times * tokens:.2g}")
            axes.plot(best, loss, "o", color=colour, markersize=5)
            alone = float(planner.supervised_loss(size, times * tokens))
            axes.axhline(alone, color=colour, linestyle=":", linewidth=0.8)
        axes.set(xlabel="teacher's loss", ylabel=f"loss of {size:.3g} parameters")
        axes.legend(frameon=False, labelcolor=_INK, title="tokens (dotted: no teacher)")


@contextmanager
def _figure(path: Path, inches: tuple[float, float]) -> "Iterator[Figure]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    yield figure
    for axes in figure.axes:
        _plain(axes)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
