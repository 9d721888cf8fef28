"""Labels that say the same again and again."""

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from distil_jax.data.text import units
from distil_jax.labelling.filters.base import Score


class Repetition(Score):
    """The share of a label's n-grams (of words, or characters by language) that were there before.

    1 - #distinct / #all; 0 for labels too short to have two of them.
    """

    name: Literal["repetition"] = "repetition"
    n: int = Field(default=3, ge=1)
    good = "low"
    columns = ("label", "language")

    def of(self, labels: pa.Table) -> np.ndarray:
        rows = labels.select(["label", "language"]).to_pylist()
        shares = [self._share(units(row["label"], row["language"])) for row in rows]
        return np.array(shares, np.float64)

    def _share(self, words: list[str]) -> float:
        ngrams = [tuple(words[i : i + self.n]) for i in range(len(words) - self.n + 1)]
        return 1.0 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0
