"""Error rates of teacher and student on the same clips, with bootstrap intervals."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from distil_jax.data.text import Errors, Unit, normaliser, unit
from distil_jax.evaluation.alignment import align, count_edits
from distil_jax.evaluation.hallucination import hallucination, of_file, repeated_ngrams

_ROLES = ("teacher", "student")
_LEVEL = 95.0
_FEW = 0.05  # of the clips


def corpus_error_rate(rows: Iterable[tuple[str | None, str, str | None]]) -> float | None:
    """Percent over (reference, hypothesis, language) rows; None when all references are empty.

    Counted in what `corpus_unit` says of the languages; rows without a reference do not count.
    """
    rows = list(rows)
    counted_in = corpus_unit(language for _, _, language in rows)
    pairs = (
        (_units(reference, language, counted_in), _units(hypothesis, language, counted_in))
        for reference, hypothesis, language in rows
    )
    return _total(_errors(*pair) for pair in pairs if pair[0]).rate


def corpus_unit(languages: Iterable[str | None]) -> Unit:
    """What the errors of a whole corpus are counted in: never words and characters in one sum.

    Characters, which every language has, if more than a few clips are in a language that does not
    space its words; a few may be a detection gone wrong, and do not turn the scale.
    """
    found = [unit(language) for language in languages]
    return "character" if found.count("character") > _FEW * len(found) else "word"


def compare(rows: Sequence[Mapping], seed: int, resamples: int = 2000) -> dict[str, Any]:
    """Teacher against student on one evaluation set.

    rows: {"reference", "teacher", "student", "language"}, texts as decoded, and "id" where there is
    one. Clips whose normalised reference is empty or missing do not count; `unreferenced` says how
    many. Where no clip has one there are no rates, and repeated 5-grams are those of all clips.
    Returns {"clips", "unreferenced", "teacher": {...}, "student": {...}, "difference": {...}}; all
    rates in percent, the difference (student - teacher) in points, intervals of 95 % over clips.
    """
    counted_in = corpus_unit(row["language"] for row in rows)
    texts = {name: _column(rows, name, counted_in) for name in ("reference", *_ROLES)}
    ids = [str(row.get("id", number)) for number, row in enumerate(rows)]
    counted = [i for i, reference in enumerate(texts["reference"]) if reference]
    errors = {
        role: [_errors(texts["reference"][i], texts[role][i]) for i in counted] for role in _ROLES
    }
    rates = _resampled_rates(errors, seed, resamples)
    measured = {
        role: {
            **_described(_total(errors[role]), rates[role]),
            "unit": counted_in,
            "repeated_5grams": repeated_ngrams(
                [texts[role][i] for i in counted or range(len(rows))]
            ),
            "hallucination": hallucination(ids, texts["reference"], texts[role]),
        }
        for role in _ROLES
    }
    return {
        "clips": len(rows),
        "unreferenced": len(rows) - len(counted),
        **measured,
        "difference": _difference(measured, rates),
    }


def hallucination_by_clip(rows: Sequence[Mapping]) -> list[dict[str, Any]]:
    """For each row, in their order, {"teacher_ier", "teacher_repeated_5grams", "student_ier", ...}.

    rows: as for `compare`. IER in percent, None without a reference; as hallucination.of_file.
    """
    counted_in = corpus_unit(row["language"] for row in rows)
    texts = {name: _column(rows, name, counted_in) for name in ("reference", *_ROLES)}

    def columns(clip: int) -> dict[str, Any]:
        found = {role: of_file(texts["reference"][clip], texts[role][clip]) for role in _ROLES}
        names = ("ier", "repeated_5grams")
        return {f"{role}_{name}": found[role][name] for role in _ROLES for name in names}

    return [columns(clip) for clip in range(len(rows))]


def _column(rows: Sequence[Mapping], name: str, counted_in: Unit) -> list[list[str]]:
    return [_units(row[name], row["language"], counted_in) for row in rows]


def _units(text: str | None, language: str | None, counted_in: Unit) -> list[str]:
    """As data.text.units, but in what the whole corpus is counted in."""
    words = normaliser(language)(text or "").split()
    return list("".join(words)) if counted_in == "character" else words


def _errors(reference: list[str], hypothesis: list[str]) -> Errors:
    return count_edits(align(reference, hypothesis))


def _total(errors: Iterable[Errors]) -> Errors:
    return sum(errors, Errors())


def _resampled_rates(
    errors: Mapping[str, Sequence[Errors]], seed: int, resamples: int
) -> dict[str, np.ndarray]:
    """Each role's error rate in each resample of the clips, in percent. {role: [resamples]}.

    Both roles are judged on the same clips of a resample, so their rates may be subtracted.
    """
    first = next(iter(errors.values()))
    if not first:
        return {role: np.full(resamples, np.nan) for role in errors}
    columns = [[error.total for error in each] for each in errors.values()]
    clips = np.array([*columns, [error.reference_length for error in first]], np.int64).T
    rng = np.random.default_rng(seed)
    # One resample at a time: all their draws at once would not fit for a large corpus.
    sums = np.stack(
        [clips[rng.integers(len(clips), size=len(clips))].sum(0) for _ in range(resamples)]
    )
    return {role: 100.0 * sums[:, i] / sums[:, -1] for i, role in enumerate(errors)}


def _described(total: Errors, rates: np.ndarray) -> dict[str, Any]:
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


def _interval(rates: np.ndarray) -> list[float] | None:
    if not np.isfinite(rates).all():
        return None
    tail = (100.0 - _LEVEL) / 2
    return [round(float(bound), 4) for bound in np.percentile(rates, [tail, 100.0 - tail])]
