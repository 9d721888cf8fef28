"""Signs of hallucination: n-grams that a model says again and again (Distil-Whisper, 5-Dup)."""

from collections.abc import Sequence

from distil_jax.data.text import units


def repeated_ngrams(
    texts: Sequence[str], languages: Sequence[str | None], n: int = 5
) -> dict[str, float]:
    """#n-grams - #distinct n-grams of normalised texts, in words, or characters where unspaced.

    corpus: over all texts joined to one, as the paper counts; it includes phrases that many clips
    share, so only ratios on the same corpus compare. per_file_mean: within each text alone.
    """
    pieces = [units(text, language) for text, language in zip(texts, languages, strict=True)]
    joined = [unit for piece in pieces for unit in piece]
    per_file = [_repeated(piece, n) for piece in pieces]
    mean = sum(per_file) / len(per_file) if per_file else 0.0
    return {"corpus": _repeated(joined, n), "per_file_mean": round(mean, 4)}


def _repeated(units: list[str], n: int) -> int:
    ngrams = [tuple(units[i : i + n]) for i in range(len(units) - n + 1)]
    return len(ngrams) - len(set(ngrams))
