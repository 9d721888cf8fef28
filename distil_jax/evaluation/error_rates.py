"""Error rates of teacher and student on the same clips, with bootstrap intervals."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from distil_jax.data.text import Errors, count_errors, unit
from distil_jax.evaluation.hallucination import repeated_ngrams

_LEVEL = 95.0


def corpus_error_rate(rows: Iterable[tuple[str, str, str | None]]) -> float | None:
    """Percent over (reference, hypothesis, language) rows; None when all references are empty."""
    return sum((count_errors(*row) for row in rows), Errors()).rate


def compare(rows: Sequence[dict], seed: int, resamples: int = 2000) -> dict[str, Any]:
    """Teacher against student on one evaluation set.

    rows: {"reference", "teacher", "student", "language"}, texts as decoded. Clips whose normalised
    reference is empty or missing do not count in the rates; `unreferenced` says how many.
    Returns {"clips", "unreferenced", "teacher": {...}, "student": {...}, "difference": {...}}; all
    rates in percent, the difference (student - teacher) in points, intervals of 95 % over clips.
    """
    counted = [row for row in rows if row["reference"] and _errors(row, "teacher").rate is not None]
    samples = _resamples(len(counted), seed, resamples)
    measured, rates = {}, {}
    for role in ("teacher", "student"):
        errors = [_errors(row, role) for row in counted]
        rates[role] = _rates(errors, samples)
        measured[role] = {
            **_described(errors, rates[role]),
            "unit": unit(rows[0]["language"] if rows else None),
            "repeated_5grams": repeated_ngrams([row[role] for row in rows], _languages(rows)),
        }
    return {
        "clips": len(rows),
        "unreferenced": len(rows) - len(counted),
        **measured,
        "difference": _difference(measured, rates),
    }


def _errors(row: dict, role: str) -> Errors:
    return count_errors(row["reference"], row[role], row["language"])


def _languages(rows: Sequence[dict]) -> list[str | None]:
    return [row["language"] for row in rows]


def _described(errors: list[Errors], rates: np.ndarray) -> dict[str, Any]:
    total = sum(errors, Errors())
    return {
        "error_rate": None if total.rate is None else round(total.rate, 4),
        "interval": _interval(rates),
        "substitutions": total.substitutions,
        "deletions": total.deletions,
        "insertions": total.insertions,
        "reference_length": total.reference_length,
    }


def _difference(measured: dict, rates: dict[str, np.ndarray]) -> dict[str, Any]:
    """Paired: both models are judged on the same resampled clips."""
    teacher, student = measured["teacher"]["error_rate"], measured["student"]["error_rate"]
    if teacher is None or student is None:
        return {"error_rate": None, "interval": None}
    interval = _interval(rates["student"] - rates["teacher"])
    return {"error_rate": round(student - teacher, 4), "interval": interval}


def _resamples(clips: int, seed: int, resamples: int) -> np.ndarray:
    """How often each clip is drawn in each resample. [resamples, clips]."""
    if not clips:
        return np.zeros((resamples, 0))
    rng = np.random.default_rng(seed)
    return rng.multinomial(clips, np.full(clips, 1 / clips), size=resamples)


def _rates(errors: list[Errors], samples: np.ndarray) -> np.ndarray:
    """The error rate of each resample, in percent. [resamples]."""
    wrong = np.array([error.total for error in errors], float)
    length = np.array([error.reference_length for error in errors], float)
    if not len(errors):
        return np.full(len(samples), np.nan)
    return 100.0 * (samples @ wrong) / (samples @ length)


def _interval(rates: np.ndarray) -> list[float] | None:
    if not np.isfinite(rates).all():
        return None
    tail = (100.0 - _LEVEL) / 2
    return [round(float(bound), 4) for bound in np.percentile(rates, [tail, 100.0 - tail])]
