"""The filter's charts: hours by error rate, and how well each score finds wrong labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from distil_jax.run import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of the histogram, in percent.
_BAR, _LAST_BAR = 5.0, 100.0


def write_histogram(scores: pa.Table, max_error_rate: float | None, path: Path) -> None:
    """draw_histogram as a PNG; a chart that says so where no label has a score."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.add_subplot()
    if not draw_histogram(axes, scores, max_error_rate):
        axes.text(0.5, 0.5, "no label has a reference", ha="center", transform=axes.transAxes)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def draw_histogram(
    axes: "Axes", scores: pa.Table, max_error_rate: float | None, ink: str = "#333333"
) -> bool:
    """Hours by error rate, kept and dropped; what lies beyond 100 % is in the last bar.

    scores: with `score`, `duration` (s) and `kept`. False where there is nothing to draw.
    """
    scores = scores.filter(scores["score"].is_valid())
    score = np.minimum(scores["score"].to_numpy(), _LAST_BAR)
    hours = scores["duration"].to_numpy() / 3600
    kept = scores["kept"].to_numpy()
    axes.hist(
        [score[kept], score[~kept]],
        bins=np.linspace(0, _LAST_BAR + _BAR, int(_LAST_BAR / _BAR) + 2).tolist(),
        weights=[hours[kept], hours[~kept]],
        stacked=True,
        rwidth=0.86,
        label=["kept", "dropped"],
        color=["#2a8fb0", "#d9822b"],
    )
    if max_error_rate is not None and max_error_rate <= _LAST_BAR:
        axes.axvline(max_error_rate, color=ink, linestyle="--", linewidth=1, label="λ")
    axes.set_xticks(range(0, 101, 20), [*map(str, range(0, 100, 20)), "≥ 100"])
    axes.set(xlabel="error rate of the label against its reference, %", ylabel="hours")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, labelcolor=ink)
    return len(score) > 0


def write_precision_recall(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], share: float, above: float, path: Path
) -> None:
    """A PNG with a step curve for each score. curves: name -> (precision [k], recall [k]).

    share: of wrong labels among all, which is the precision of a coin. above: what is wrong.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    styles = ("-", "--", ":")
    for number, (name, (precision, recall)) in enumerate(curves.items()):
        # A step down to the next recall has that one's precision, as average precision counts.
        steps = np.insert(recall, 0, 0.0), np.insert(precision, 0, precision[0])
        axes.step(*steps, where="pre", label=name, linestyle=styles[number // 10 % 3])
    axes.axhline(share, color="#999999", linewidth=1, label="by chance")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title(f"labels with an error rate of {above:g} % or more", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
