"""Which labels to train on: a score for every clip, and a decision that can be made again.

Distil-Whisper's filter: the error rate of the label against the reference, under Whisper's
normaliser, must stay below a threshold (lambda). uDistil-Whisper's: other scores, which need no
reference.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from distil_jax.data.text import normaliser, unit
from distil_jax.labelling.filters.base import Score
from distil_jax.labelling.filters.decide import Decision, Judge
from distil_jax.labelling.filters.error_rate import ErrorRate, with_errors
from distil_jax.labelling.filters.settings import FilterConfig

KEPT = "kept"

# What every filtering tells of each label; behind it stand the other scores that decided, if any.
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
# What filtering itself reads of the label table (of labelling.store.SCHEMA).
COLUMNS = ("id", "corpus", "duration", "reference", "label", "language")


def columns(scores: Iterable[Score]) -> list[str]:
    """The columns of the label table that filtering by these scores reads."""
    return list(dict.fromkeys([*COLUMNS, *(name for score in scores for name in score.columns)]))


def filter_labels(labels: pa.Table, config: FilterConfig) -> tuple[pa.Table, dict[str, Any]]:
    """(scores, summary) of a label table: `columns(config.used.values())` of it.

    scores has a row for every label, in SCHEMA; a dropped one says why. Raises UserError where a
    filter is to match one that can judge no label.
    """
    labels = with_errors(labels.select([n for n in labels.column_names if n in _read(config)]))
    reasons = basic_reasons(labels, config)
    judge = Judge(labels, config, reasons == KEPT)
    decisions = [judge.decide(each) for each in config.all_filters]
    for decision in decisions:
        reasons[(reasons == KEPT) & ~decision.kept] = decision.reason
    scores = _scores(labels, reasons)
    return _with_others(scores, labels, config), _summary(scores, config, decisions)


def basic_reasons(labels: pa.Table, config: FilterConfig) -> np.ndarray:
    """Why a label is dropped whatever its scores are, or KEPT; objects [rows]."""
    rows = labels.select(["reference", "label", "language"]).to_pylist()
    reasons = np.full(len(rows), KEPT, object)
    for number, row in enumerate(rows):
        reasons[number] = _reason(**row, config=config)
    return reasons


def _read(config: FilterConfig) -> list[str]:
    return columns(config.used.values())


def _reason(reference: str | None, label: str, language: str | None, config: FilterConfig) -> str:
    if not _says_something(label, language):
        return "empty label"
    if config.drop_upper_case and _is_upper_case(label):
        return "upper case"
    if reference is None:
        return KEPT if config.unreferenced == "keep" else "no reference"
    return KEPT if _says_something(reference, language) else "empty reference"


def _says_something(text: str, language: str | None) -> bool:
    """Whether a letter or digit is left; the English normaliser leaves a dot of "..."."""
    return any(map(str.isalnum, normaliser(language)(text)))


def _is_upper_case(text: str) -> bool:
    """Whether there are capitals and nothing but; never for scripts without case."""
    text = text.strip()
    return text == text.upper() != text.lower()


def _scores(labels: pa.Table, reasons: np.ndarray) -> pa.Table:
    rate = ErrorRate().of(labels)
    made = {
        "score": pa.array(rate, pa.float64(), mask=np.isnan(rate)),
        "unit": pa.array([unit(language) for language in labels["language"].to_pylist()]),
        "kept": pa.array(reasons == KEPT, pa.bool_()),
        "reason": pa.array(reasons, pa.string()),
    }
    named = {name: made[name] if name in made else labels[name] for name in SCHEMA.names}
    return pa.table(named).cast(SCHEMA)


def _with_others(scores: pa.Table, labels: pa.Table, config: FilterConfig) -> pa.Table:
    """The other scores that decided, each in a column of its name; null where it cannot tell."""
    for name, score in config.used.items():
        if not isinstance(score, ErrorRate):
            values = score.of(labels)
            scores = scores.append_column(name, pa.array(values, mask=np.isnan(values)))
    return scores


def _summary(scores: pa.Table, config: FilterConfig, decisions: list[Decision]) -> dict[str, Any]:
    rows = scores.select(["duration", "reference", "kept", "reason"]).to_pylist()
    hours = {kept: sum(r["duration"] for r in rows if r["kept"] == kept) / 3600 for kept in (0, 1)}
    kept = sum(row["kept"] for row in rows)
    summary = {
        "kept_clips": kept,
        "dropped_clips": len(rows) - kept,
        "kept_hours": round(hours[1], 4),
        "dropped_hours": round(hours[0], 4),
        "max_error_rate": config.lambda_,
        "unreferenced_clips": sum(row["reference"] is None for row in rows),
        "reasons": dict(Counter(row["reason"] for row in rows if not row["kept"])),
    }
    cuts = dict(zip(map(str, config.all_filters), (d.cut for d in decisions), strict=True))
    return {**summary, "cuts": cuts} if config.filters else summary
