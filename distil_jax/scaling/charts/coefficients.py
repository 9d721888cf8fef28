"""Charts of what a fit's runs tell of its coefficients."""

from pathlib import Path
from typing import Any

import numpy as np

from distil_jax.scaling.charts.figure import BLUE, INK, ORANGE, figure, scale_of
from distil_jax.scaling.fitted import FittedLaw

_DEEP = 2.706  # where a profile's 90 % interval ends
_HIGHEST = 3 * _DEEP


def write_profiles(found: FittedLaw, path: Path) -> None:
    """A panel for each coefficient, orange where the runs do not tell it; nothing of a file that
    holds no profiles."""
    profiled = {name: each for name, each in found.coefficients.items() if each.profile_curve}
    if not profiled:
        return
    columns = 3
    rows = -(-len(profiled) // columns)
    with figure(path, (8, 2.2 * rows)) as drawn:
        panels = np.atleast_1d(drawn.subplots(rows, columns)).ravel()
        for axes, (name, each) in zip(panels, profiled.items(), strict=False):
            values, falls = np.array(each.profile_curve).T
            low, high = _in_sight(values, falls)
            axes.plot(values, falls, color=BLUE if each.told else ORANGE, linewidth=1.4)
            axes.axhline(_DEEP, color=INK, linestyle=":", linewidth=0.8)
            axes.axvline(each.value, color=INK, linewidth=0.5)
            scale = scale_of(np.array([low, high]))
            axes.set(title=name, xlim=(low, high), ylim=(0, _HIGHEST), xscale=scale)
        for axes in panels[::columns]:
            axes.set_ylabel("likelihood's fall, χ²")
        for axes in panels[len(profiled) :]:
            axes.set_axis_off()


def _in_sight(values: np.ndarray, falls: np.ndarray) -> tuple[float, float]:
    """Where a profile is not above its panel: the runs may tell of a small part of its values.

    At least about its lowest point, where runs without noise leave nothing else.
    """
    numbers = np.arange(len(values))
    between = np.linspace(0, numbers[-1], 50 * len(values))
    across, up = (np.interp(between, numbers, each) for each in (values, falls))
    seen = across[up <= max(_HIGHEST, np.sort(falls)[:3].max())]
    return float(seen.min()), float(seen.max())


def write_pairs(found: FittedLaw, path: Path) -> None:
    """Each coefficient of the bootstrap's draws against each other one: what they trade."""
    names, draws = list(found.coefficients), np.array(found.draws).T
    count, scales = len(names), [scale_of(each) for each in draws]
    with figure(path, (1.5 * count, 1.4 * count)) as drawn:
        panels: Any = drawn.subplots(count, count, squeeze=False)
        for row, column in np.ndindex(count, count):
            axes = panels[row, column]
            axes.tick_params(labelsize=6)
            axes.set_xscale(scales[column])
            if column > row:
                axes.set_axis_off()
            elif column == row:
                axes.hist(draws[row], bins=_bins(draws[row]), color=BLUE)
                axes.set(title=names[row], yticks=[])
            else:
                axes.scatter(draws[column], draws[row], s=2, color=BLUE, alpha=0.3)
                axes.set_yscale(scales[row])
        for number, name in enumerate(names):
            panels[-1, number].set_xlabel(name)
            panels[number, 0].set_ylabel(name if number else "")


def _bins(drawn: np.ndarray) -> np.ndarray:
    """Also of draws that differ by rounding alone, which would be too near for 30 bins."""
    if scale_of(drawn) == "log":
        return np.geomspace(drawn.min(), drawn.max(), 31)
    middle, half = np.mean(drawn), np.ptp(drawn) / 2
    half = max(half, 1e-9 * abs(middle), 1e-9)
    return np.linspace(middle - half, middle + half, 31)
