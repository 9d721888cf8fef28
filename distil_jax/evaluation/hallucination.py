"""Signs of hallucination: n-grams that a model says again and again (Distil-Whisper, 5-Dup)."""

from collections.abc import Sequence


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
