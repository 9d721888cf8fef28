"""Signs of hallucination: words put in, and n-grams that a model says again and again.

The definitions of Distil-Whisper's code (Gandhi et al. 2023, section 5.4, table 8): insertions,
substitutions and deletions as percent of the reference's words, and 5-Dup.
"""

from collections.abc import Sequence
from typing import Any

from distil_jax.data.text import Errors
from distil_jax.evaluation.alignment import align, count_edits

_WORST_FILES = 5


def hallucination(
    ids: Sequence[str], references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """IER, SER, DER and WER in percent and 5-Dup, over a corpus and by file.

    references, predictions: units of each file (data.text.units), of English words the figures are
    those of the paper's script. As there, full stops go out of the predictions only (3.5 becomes
    35: what stands in a reference is then a substitution), and files without a reference do not
    count. Where no file has one, the rates are None and 5-Dup is that of all files.
    Returns {"wer", "ier", "ser", "der", "repeated_5grams", "per_file", "worst_files"}. per_file:
    means over files, and in how many an n-gram comes again. worst_files: the most repetitions
    first, then the most insertions; files with neither are not listed.
    """
    counted = [i for i, reference in enumerate(references) if reference] or range(len(ids))
    files = [{"id": ids[i], **of_file(references[i], predictions[i])} for i in counted]
    total = sum((_errors(references[i], predictions[i]) for i in counted), Errors())
    joined = [unit for i in counted for unit in without_stops(predictions[i])]
    return {
        "wer": _percent(total.total, total),
        "ier": _percent(total.insertions, total),
        "ser": _percent(total.substitutions, total),
        "der": _percent(total.deletions, total),
        "repeated_5grams": _repeated(joined, 5),
        "per_file": {
            "ier": _mean([file["ier"] for file in files if file["ier"] is not None]),
            "repeated_5grams": _mean([file["repeated_5grams"] for file in files]) or 0.0,
            "files_with_repeats": sum(file["repeated_5grams"] > 0 for file in files),
        },
        "worst_files": _worst(files),
    }


def of_file(reference: Sequence[str], prediction: Sequence[str]) -> dict[str, Any]:
    """{"ier", "insertions", "repeated_5grams"} of one file. ier: None without a reference."""
    errors = _errors(reference, prediction)
    return {
        "ier": _percent(errors.insertions, errors),
        "insertions": errors.insertions,
        "repeated_5grams": _repeated(without_stops(prediction), 5),
    }


def without_stops(units: Sequence[str]) -> list[str]:
    """The units of a normalised prediction as if every full stop had been taken out of it."""
    return [rest for rest in (unit.replace(".", "") for unit in units) if rest]


def repeated_ngrams(texts: Sequence[Sequence[str]], n: int = 5) -> dict[str, float]:
    """#n-grams - #distinct n-grams of texts given as units (data.text.units).

    corpus: over all texts joined to one, as the paper counts; it includes phrases that many clips
    share and n-grams across the joints, so only ratios on the same corpus compare. per_file_mean:
    within each text alone.
    """
    joined = [unit for text in texts for unit in text]
    per_file = [_repeated(text, n) for text in texts]
    mean = sum(per_file) / len(per_file) if per_file else 0.0
    return {"corpus": _repeated(joined, n), "per_file_mean": round(mean, 4)}


def _repeated(units: Sequence[str], n: int) -> int:
    ngrams = [tuple(units[i : i + n]) for i in range(len(units) - n + 1)]
    return len(ngrams) - len(set(ngrams))


def _errors(reference: Sequence[str], prediction: Sequence[str]) -> Errors:
    return count_edits(align(reference, without_stops(prediction)))


def _worst(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def badness(file: dict[str, Any]) -> tuple[int, int]:
        return file["repeated_5grams"], file["insertions"]

    found = [file for file in files if any(badness(file))]
    return sorted(found, key=badness, reverse=True)[:_WORST_FILES]


def _percent(edits: int, of: Errors) -> float | None:
    return round(100.0 * edits / of.reference_length, 4) if of.reference_length else None


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None
