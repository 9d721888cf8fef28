"""Error rates over noise levels: rows of a table, and a chart."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distil_jax.run import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIDES = ("teacher", "student", "difference")
_COLOURS = {"teacher": "#d9822b", "student": "#2a8fb0"}
_LINES = {"white": "-", "babble": "--"}


def level_row(kind: str, snr_db: float, compared: Mapping[str, Any]) -> dict[str, Any]:
    """Error rates (%) and intervals of both models and their difference. compared: of one level."""
    row: dict[str, Any] = {"noise": kind, "snr_db": snr_db}
    for side in _SIDES:
        row[side] = compared[side]["error_rate"]
        row[f"{side}_interval"] = compared[side]["interval"]
    return row


def draw_noise_levels(
    axes: "Axes", rows: Sequence[Mapping], clean: Mapping[str, float | None], ink: str = "#333333"
) -> None:
    """Error rate against SNR, quiet on the left; bars are the intervals.

    rows: of `level_row`; clean: the rates without noise by role, dotted.
    """
    for role, colour in _COLOURS.items():
        for kind in dict.fromkeys(row["noise"] for row in rows):
            known = [row for row in rows if row["noise"] == kind and row[role] is not None]
            known.sort(key=lambda row: row["snr_db"])
            _draw_curve(axes, known, role, colour, kind)
        if (rate := clean[role]) is not None:
            axes.axhline(rate, color=colour, linestyle=":", linewidth=1)
    axes.invert_xaxis()
    axes.set_ylim(bottom=0)
    axes.set(xlabel="signal-to-noise ratio, dB", ylabel="error rate, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, labelcolor=ink, fontsize=8)


def write_noise_chart(compared: Mapping[str, Any], path: Path) -> None:
    """draw_noise_levels as a PNG. compared: of a set, with its rows as "noise"."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    draw_noise_levels(figure.add_subplot(), compared["noise"], clean_rates(compared))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def clean_rates(compared: Mapping[str, Any]) -> dict[str, float | None]:
    """The error rates of a set as it is, by role."""
    return {role: compared[role]["error_rate"] for role in _COLOURS}


def _draw_curve(axes: "Axes", rows: Sequence[Mapping], role: str, colour: str, kind: str) -> None:
    rates = [row[role] for row in rows]
    low, high = zip(*(row[f"{role}_interval"] for row in rows), strict=True) if rows else ((), ())
    # An interval of resamples need not hold the rate itself.
    below = [max(0.0, rate - bound) for rate, bound in zip(rates, low, strict=True)]
    above = [max(0.0, bound - rate) for rate, bound in zip(rates, high, strict=True)]
    axes.errorbar(
        [row["snr_db"] for row in rows],
        rates,
        yerr=[below, above],
        color=colour,
        linestyle=_LINES[kind],
        linewidth=1.4,
        marker="o",
        markersize=3,
        elinewidth=0.8,
        label=f"{role}, {kind}",
    )
