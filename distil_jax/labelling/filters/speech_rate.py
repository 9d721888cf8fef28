"""Labels that say too much or too little for the time they take."""

from typing import Literal

import numpy as np
import pyarrow as pa

from distil_jax.data.text import normaliser
from distil_jax.labelling.filters.base import Score, numbers

_MAD_OF_NORMAL = 0.6745  # the median absolute deviation of a normal distribution of deviation 1
_ENOUGH = 20  # labels of a language in a corpus, that they are compared with each other alone


class SpeechRate(Score):
    """How far letters and digits a second are from what is usual in the corpus, in deviations.

    |log(rate) - median| / robust deviation, the median's and the deviation's over the clips of the
    same corpus; robust: by the median absolute deviation (Iglewicz & Hoaglin 1993, the modified
    z-score), so that the odd clips do not set the measure. Twice as fast is as odd as half as fast.
    It cannot tell where a label is empty.
    """

    name: Literal["speech_rate"] = "speech_rate"
    good = "low"
    columns = ("corpus", "duration", "label", "language")

    def of(self, labels: pa.Table) -> np.ndarray:
        rows = labels.select(["label", "language"]).to_pylist()
        letters = np.array([_letters(row["label"], row["language"]) for row in rows], np.float64)
        seconds = numbers(labels, "duration")
        rate = np.full(len(rows), np.nan)
        said = (letters > 0) & (seconds > 0)
        rate[said] = np.log(letters[said] / seconds[said])
        odd = np.full(len(rows), np.nan)
        corpora, languages = (
            np.array(labels[name].to_pylist(), object) for name in ("corpus", "language")
        )
        for corpus in dict.fromkeys(corpora):
            own = said & (corpora == corpus)
            odd[own] = _deviations(rate[own])
            for language in dict.fromkeys(languages[own]):
                alike = own & (languages == language)
                if alike.sum() >= _ENOUGH:
                    odd[alike] = _deviations(rate[alike])
        return odd


def _letters(text: str, language: str | None) -> int:
    return sum(map(str.isalnum, normaliser(language)(text)))


def _deviations(values: np.ndarray) -> np.ndarray:
    """Distances from the median in robust deviations; plain where all but a few are the same."""
    if not len(values):
        return values
    distances = np.abs(values - np.median(values))
    deviation = np.median(distances) / _MAD_OF_NORMAL
    return distances / deviation if deviation > 0 else distances
