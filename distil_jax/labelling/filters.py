"""Which labels to train on: a score for every clip, and a decision that can be made again.

Distil-Whisper's filter: the error rate of the label against the reference, under Whisper's
normaliser, must stay below a threshold (lambda).
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from distil_jax.data.text import Errors, count_errors, normaliser, unit
from distil_jax.run import atomic_path
from distil_jax.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEPT = "kept"

# Of the histogram, in percent.
_BAR, _LAST_BAR = 5.0, 100.0

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("corpus", pa.string()),
        ("duration", pa.float64()),
        ("reference", pa.string()),
        ("label", pa.string()),
        ("errors", pa.int64()),
        ("length", pa.int64()),
        ("score", pa.float64()),
        ("unit", pa.string()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
    ]
)


class FilterConfig(Settings):
    # Lambda: keep a clip if its error rate is below this, in percent. null: no label is too wrong.
    max_error_rate: float | None = Field(default=10.0, ge=0, allow_inf_nan=False)
    # Drop labels written in capitals only, an artefact of large-v3.
    drop_upper_case: bool = True
    # Clips that have no reference: there is nothing to measure them by.
    unreferenced: Literal["keep", "drop"] = "keep"


def filter_labels(labels: pa.Table, config: FilterConfig) -> tuple[pa.Table, dict[str, Any]]:
    """(scores, summary) of a label table (labelling.store.SCHEMA).

    scores has a row for every label, in SCHEMA; a dropped one says why.
    """
    rows = [_scored(row, config) for row in labels.to_pylist()]
    return pa.Table.from_pylist(rows, SCHEMA), _summary(rows, config)


def _scored(row: dict, config: FilterConfig) -> dict:
    reference, label, language = row["reference"], row["label"], row["language"]
    errors = Errors() if reference is None else count_errors(reference, label, language)
    reason = _reason(reference, label, language, errors, config)
    return {
        **{name: row[name] for name in ("id", "corpus", "duration", "reference", "label")},
        "errors": errors.total,
        "length": errors.reference_length,
        "score": errors.rate,
        "unit": unit(language),
        "kept": reason == KEPT,
        "reason": reason,
    }


def _reason(
    reference: str | None, label: str, language: str | None, errors: Errors, config: FilterConfig
) -> str:
    """Why a clip is dropped, or KEPT."""
    if not _says_something(label, language):
        return "empty label"
    if config.drop_upper_case and _is_upper_case(label):
        return "upper case"
    if reference is None:
        return KEPT if config.unreferenced == "keep" else "no reference"
    if errors.rate is None or not _says_something(reference, language):
        return "empty reference"
    if config.max_error_rate is not None and errors.rate >= config.max_error_rate:
        return f"error rate >= {config.max_error_rate:g}"
    return KEPT


def _says_something(text: str, language: str | None) -> bool:
    """Whether a letter or digit is left; the English normaliser leaves a dot of "..."."""
    return any(map(str.isalnum, normaliser(language)(text)))


def _is_upper_case(text: str) -> bool:
    """Whether there are capitals and nothing but; never for scripts without case."""
    text = text.strip()
    return text == text.upper() != text.lower()


def _summary(rows: list[dict], config: FilterConfig) -> dict[str, Any]:
    hours = {kept: sum(r["duration"] for r in rows if r["kept"] == kept) / 3600 for kept in (0, 1)}
    kept = sum(row["kept"] for row in rows)
    return {
        "kept_clips": kept,
        "dropped_clips": len(rows) - kept,
        "kept_hours": round(hours[1], 4),
        "dropped_hours": round(hours[0], 4),
        "max_error_rate": config.max_error_rate,
        "unreferenced_clips": sum(row["reference"] is None for row in rows),
        "reasons": dict(Counter(row["reason"] for row in rows if not row["kept"])),
    }


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
