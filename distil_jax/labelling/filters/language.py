"""Labels in another language than their corpus."""

from collections import Counter
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import field_validator

from distil_jax.data.text import language_code, languages
from distil_jax.labelling.filters.base import Score


class LanguageMismatch(Score):
    """How much of the corpus is in another language than this label: 0 none of it, 1 all.

    With `expected` 1 for any other language than that, and 0 for it. A label's language is what the
    data (or label.language) say, and is detected only where they say nothing: a corpus that names
    its language has no mismatch here, whatever is spoken in it.
    """

    name: Literal["language_mismatch"] = "language_mismatch"
    # A code, as "de". null: what most labels of the corpus are in is what is expected of it.
    expected: str | None = None
    good = "low"
    columns = ("corpus", "language")

    @field_validator("expected")
    @classmethod
    def _is_a_language(cls, expected: str | None) -> str | None:
        code = language_code(expected)
        if code is not None and code not in languages():
            raise ValueError(f"got {expected!r}, expected a language of Whisper's, as 'de'")
        return code

    def of(self, labels: pa.Table) -> np.ndarray:
        corpora, languages = labels["corpus"].to_pylist(), labels["language"].to_pylist()
        rows = list(zip(corpora, languages, strict=True))
        clips = Counter(rows)
        of_corpus = Counter(corpus for corpus, language in rows if language is not None)
        return np.array([self._mismatch(row, clips[row], of_corpus[row[0]]) for row in rows], float)

    def _mismatch(self, row: tuple[str, str | None], same: int, all_clips: int) -> float:
        if row[1] is None:
            return np.nan
        return float(row[1] != self.expected) if self.expected else 1.0 - same / all_clips
