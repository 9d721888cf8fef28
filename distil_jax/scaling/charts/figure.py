"""What all charts have in common: colours, how far a law's runs reach, and how they are written."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distil_jax.run import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, INK = "#2a8fb0", "#d9822b", "#333333"
COLOURS = (INK, BLUE, ORANGE, "#6a4c93", "#5b8c5a", "#b5446e")
LOSS = "loss, nats a token"
_SHADE: dict[str, Any] = {"color": "#ececec", "linewidth": 0, "zorder": 0}


@contextmanager
def figure(path: Path, inches: tuple[float, float]) -> "Iterator[Figure]":
    from matplotlib.figure import Figure  # late: half a second

    made = Figure(figsize=inches, layout="constrained")
    yield made
    for axes in made.axes:
        _plain(axes)
    with atomic_path(path) as temporary:
        made.savefig(temporary, dpi=150, format="png")


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)


def scale_of(values: np.ndarray) -> str:
    """Of an axis for them: logarithmic from two powers of ten on, as the labels below overlap."""
    low, high = values.min(), values.max()
    return "log" if 0 < 100 * low < high else "linear"


def draw_line(
    axes: "Axes", across: np.ndarray, up: np.ndarray, reached: np.ndarray, colour: str, label: str
) -> None:
    """Dotted where the law's runs do not reach."""
    axes.plot(across, up, color=colour, linewidth=1, linestyle=":")
    axes.plot(across, np.where(reached, up, np.nan), color=colour, linewidth=1.4, label=label)


def shade_beyond(axes: "Axes", low: float, high: float) -> None:
    """What lies to both sides of a range, as far as all that is drawn already goes."""
    left, right = axes.get_xlim()
    for start, end in ((left, min(low, right)), (max(high, left), right)):
        if start < end:
            axes.axvspan(start, end, **_SHADE)
    axes.set_xlim(left, right)


def shade_unreached(axes: "Axes", across: np.ndarray, reached: np.ndarray, **style: Any) -> None:
    """Around those of a logarithmic axis' points that no run reaches."""
    edges = np.concatenate([across[:1], np.sqrt(across[1:] * across[:-1]), across[-1:]])
    for is_reached, group in groupby(range(len(across)), lambda number: bool(reached[number])):
        numbers = list(group)
        if not is_reached:
            axes.axvspan(edges[numbers[0]], edges[numbers[-1] + 1], **(style or _SHADE))
    axes.set_xlim(across[0], across[-1])
