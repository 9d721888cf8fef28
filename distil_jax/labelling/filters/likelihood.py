"""Labels that read unlike the others: their likelihood under a language model.

p_n(c | h) = (count(h c) + prior * p_{n-1}(c | h')) / (count(h) + prior): an interpolated n-gram
model of characters (MacKay & Peto 1995, a hierarchical Dirichlet language model), h the n-1
characters before c and h' h without its first, down to the same probability for every character.
Another language model is a score of its own, in a file like this one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from distil_jax.data.text import normaliser
from distil_jax.errors import UserError
from distil_jax.labelling.filters.base import Score

_START, _END = 0, 1  # stand before a text's characters, and after them


class Likelihood(Score):
    """-mean log p(character) of the normalised label, its end included, in nats (uDistil, nnll).

    Without `text` the model is made of the labels, each judged by all others (leave one out): it
    finds odd labels, such as those of another language, among many alike. All of them are in memory
    at once.
    """

    name: Literal["likelihood"] = "likelihood"
    # n: of so many characters the last is told from those before it.
    order: int = Field(default=5, ge=1, le=12)
    # How many observations the shorter context weighs.
    prior: float = Field(default=2.0, gt=0, allow_inf_nan=False)
    # A text file (UTF-8) to learn the language from; null: from the labels.
    text: str | None = None
    good = "low"
    columns = ("label", "language")

    def of(self, labels: pa.Table) -> np.ndarray:
        rows = labels.select(["label", "language"]).to_pylist()
        judged = [_plain(row["label"], row["language"]) for row in rows]
        learnt = None if self.text is None else _lines(Path(self.text).expanduser(), rows)
        return negative_log_likelihood(judged, learnt, self.order, self.prior)


def negative_log_likelihood(
    judged: Sequence[str], learnt: Sequence[str] | None, order: int, prior: float
) -> np.ndarray:
    """-mean log p(character) of each text of `judged`, in nats, float64 [texts].

    learnt: texts that the model is made of; None: for each of `judged` all the others.
    """
    texts = [*judged, *(learnt or ())]
    if not judged:
        return np.zeros(0)
    rows, places, symbols = _flattened(texts)
    weights = np.ones(len(rows)) if learnt is None else (rows >= len(judged)).astype(np.float64)
    # The context of each symbol as a number, the same for the same characters; at first of none.
    context = np.zeros(len(symbols), np.int64)
    chance = np.full(len(symbols), 1.0 / (symbols.max() - _START))
    for n in range(1, order + 1):
        if n > 1:
            context = _numbered(_before(symbols, places, n - 1), context)
        seen = _others(_numbered(symbols, context), rows, weights)
        chance = (seen + prior * chance) / (_others(context, rows, weights) + prior)
    own = rows < len(judged)
    totals = np.bincount(rows[own], -np.log(chance[own]), len(judged))
    return totals / np.bincount(rows[own], minlength=len(judged))


def _flattened(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(text, place in it, symbol) of all characters and ends, one after the other; int64."""
    lengths = np.array([len(text) + 1 for text in texts])
    rows = np.repeat(np.arange(len(texts)), lengths)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    codes = np.full(len(rows), -1)
    points = "".join(texts).encode("utf-32-le", "surrogatepass")
    codes[places < lengths[rows] - 1] = np.frombuffer(points, np.uint32)
    return rows, places, np.unique(np.append(codes, -1), return_inverse=True)[1][:-1] + _END


def _before(symbols: np.ndarray, places: np.ndarray, distance: int) -> np.ndarray:
    """The symbol so many places before each, of the same text."""
    shifted = np.roll(symbols, distance)
    return np.where(places >= distance, shifted, _START)


def _numbered(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pairs of small numbers as small numbers."""
    pairs = first * (second.max(initial=0) + 1) + second
    return np.unique(pairs, return_inverse=True)[1]


def _others(keys: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often each key stands in other texts than its own, in sums of `weights`."""
    all_texts = np.bincount(keys, weights)[keys]
    own = _numbered(rows, keys)
    return all_texts - np.bincount(own, weights)[own]


def _plain(text: str, language: str | None) -> str:
    return " ".join(normaliser(language)(text).split())


def _lines(path: Path, rows: Sequence[dict]) -> list[str]:
    """The lines of a text file, normalised as the labels of the first language are."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"likelihood.text {path} cannot be read ({error}); expected a text file in UTF-8"
        ) from None
    languages = [row["language"] for row in rows if row["language"] is not None]
    language = max(sorted(set(languages)), key=languages.count) if languages else None
    return [_plain(line, language) for line in lines if line.strip()]
