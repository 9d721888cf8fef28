"""What all charts have in common: colours, and a figure that is written when it is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from distil_jax.run import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, INK = "#2a8fb0", "#d9822b", "#333333"
COLOURS = (INK, BLUE, ORANGE, "#6a4c93", "#5b8c5a", "#b5446e")


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
