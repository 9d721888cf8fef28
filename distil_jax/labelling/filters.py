"""Which labels to train on: a score for every clip, and a decision that can be made again.

Distil-Whisper's filter: the error rate of the label against the reference, under Whisper's
normaliser, must stay below a threshold (lambda).
"""

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from distil_jax.data.text import Errors, count_errors, normaliser, unit
from distil_jax.run import atomic_path
from distil_jax.settings import Settings

KEPT = "kept"

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
    # Lambda: keep a clip if its error rate is below this, in percent. null keeps them all.
    max_error_rate: float | None = Field(default=10.0, ge=0)
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
    if not normaliser(language)(label):
        return "empty label"
    if config.drop_upper_case and _is_upper_case(label):
        return "upper case"
    if reference is None:
        return KEPT if config.unreferenced == "keep" else "no reference"
    if errors.rate is None:
        return "empty reference"
    if config.max_error_rate is not None and errors.rate >= config.max_error_rate:
        return f"error rate >= {config.max_error_rate:g}"
    return KEPT


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
        "reasons": dict(Counter(row["reason"] for row in rows if not row["kept"])),
    }


def write_histogram(scores: pa.Table, max_error_rate: float | None, path: Path) -> None:
    """Hours by error rate, kept and dropped, as a PNG; what lies beyond 100 % is in the last bar."""
    from matplotlib.figure import Figure

    rows = [row for row in scores.to_pylist() if row["score"] is not None]
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.add_subplot()
    parts = [[row for row in rows if row["kept"]], [row for row in rows if not row["kept"]]]
    axes.hist(
        [[min(row["score"], 100.0) for row in part] for part in parts],
        bins=[5.0 * edge for edge in range(21)],
        weights=[[row["duration"] / 3600 for row in part] for part in parts],
        stacked=True,
        label=["kept", "dropped"],
        color=["#2a7f9e", "#d9822b"],
    )
    if max_error_rate is not None:
        axes.axvline(max_error_rate, color="#444444", linestyle="--", linewidth=1, label="λ")
    axes.set(xlabel="error rate of the label against the reference, %", ylabel="hours")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
