"""The page's charts, as SVG that takes its ink from the page around it."""

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from distil_jax.evaluation.noise_levels import clean_rates, draw_noise_levels
from distil_jax.labelling.filters import draw_histogram

_LINE = "#2a8fb0"
_INK = "#123456"  # no chart's colour: replaced by the page's text colour
_MOST_POINTS = 400
_NOT_LOSSES = ("step", "kind", "loss", "grad_norm", "learning_rate")


def curves(rows: Sequence[dict], id: str = "chart") -> list[dict[str, Any]]:
    """Charts of metrics.jsonl: losses, the validation error rate, then the optimizer's figures.

    id: of these charts alone. Each is {"title", "svg"}.
    """
    train = [row for row in rows if row["kind"] == "train"]
    validation = [row for row in rows if row["kind"] == "validation"]
    objectives = [name for name in (train[0] if train else {}) if name not in _NOT_LOSSES]
    names = {"loss": "loss, all objectives", **{name: name for name in objectives}}
    rest = {"grad_norm": "gradient norm", "learning_rate": "learning rate"}
    wanted = [(train, name, title, False) for name, title in names.items()]
    wanted.append((validation, "error_rate", "validation error rate, %", True))
    wanted += [(train, name, title, False) for name, title in rest.items()]
    charts = [_curve(f"{id}{i}", *each) for i, each in enumerate(wanted)]
    return [chart for chart in charts if chart]


def _curve(
    id: str, rows: Sequence[dict], name: str, title: str, points: bool
) -> dict[str, Any] | None:
    known = [row for row in rows if row.get(name) is not None]
    if not known:
        return None
    steps, values = _thinned([row["step"] for row in known], [row[name] for row in known])
    figure = Figure(figsize=(3.4, 1.9), layout="constrained")
    axes = figure.add_subplot()
    dots = points or len(steps) == 1
    axes.plot(steps, values, color=_LINE, linewidth=1.4, marker="o" if dots else None, markersize=4)
    if points and len(steps) > 1:
        best = int(np.argmin(values))
        axes.annotate(
            f"{values[best]:.1f}",
            (steps[best], values[best]),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
        )
        axes.margins(y=0.2)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.ticklabel_format(axis="y", scilimits=(-3, 4))
    axes.set_xlabel("step")
    return {"title": title, "svg": _svg(figure, axes, id)}


def _thinned(steps: Sequence[float], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Means over neighbours, where there are more points than a chart can show."""
    parts = min(_MOST_POINTS, len(steps))
    return tuple(
        np.array([part.mean() for part in np.array_split(np.asarray(series, float), parts)])
        for series in (steps, values)
    )  # pyright: ignore[reportReturnType]


def histogram(path: Path, max_error_rate: float | None) -> str | None:
    """The filter's histogram, from filter/scores.parquet; None where no label has a score."""
    if not path.exists():
        return None
    scores = pq.read_table(path, columns=["score", "duration", "kept"])
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.add_subplot()
    if not draw_histogram(axes, scores, max_error_rate, ink=_INK):
        return None
    return _svg(figure, axes, "histogram")


def noise_levels(compared: Mapping[str, Any], id: str) -> str | None:
    """Error rates against the noise, where a set was heard in noise. id: of this chart alone."""
    if not compared.get("noise"):
        return None
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.add_subplot()
    draw_noise_levels(axes, compared["noise"], clean_rates(compared), ink=_INK)
    return _svg(figure, axes, id)


def _svg(figure: Figure, axes: Axes, id: str) -> str:
    """The figure to stand inside the page: its text is text, its ink the page's colour.

    id: of this chart alone; goes before all ids inside, as the charts share the page.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=8)
    texts = (axes.xaxis.label, axes.yaxis.label, axes.yaxis.get_offset_text(), *axes.texts)
    for text in texts:
        text.set(color=_INK, fontsize=8)
    file = StringIO()
    quiet = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": id}):
        figure.savefig(file, format="svg", transparent=True, metadata=quiet)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{id}-", svg)
