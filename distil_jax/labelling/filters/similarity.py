"""Speech and text as points of one space: how near a label is to what was said.

No weights of such a pair of encoders (SONAR, say) come with this package. A score of one is a file
with a subclass of Similarity, named in the union Measured of registry.py.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from distil_jax.data.speech import Clip
from distil_jax.labelling.filters.base import MeasuredScore, Measurer, Models, numbers

_BATCH = 16


class Encoders(Protocol):
    """Two encoders into one space of width d."""

    def speech(self, samples: Sequence[np.ndarray]) -> np.ndarray:
        """float32 [samples] each, at 16 kHz -> [clips, d]."""
        ...

    def text(self, texts: Sequence[str], languages: Sequence[str | None]) -> np.ndarray:
        """[texts] -> [texts, d]."""
        ...


class Similarity(MeasuredScore):
    """The cosine between the embeddings of a clip and of its label (uDistil, sonar).

    It cannot tell where one of them is all zeros. Subclasses give `name` a Literal and say which
    encoders they are about.
    """

    good = "high"
    columns = ("similarity",)
    adds = (pa.field("similarity", pa.float64()),)

    @abstractmethod
    def encoders(self) -> Encoders:
        """Loaded and ready."""

    def of(self, labels: pa.Table) -> np.ndarray:
        return numbers(labels, "similarity")

    def measurer(self, models: Models) -> Measurer:
        encoders = self.encoders()

        def measure(pairs: Iterable[tuple[dict, Clip]]) -> Iterator[dict[str, Any]]:
            pairs = iter(pairs)
            while batch := list(islice(pairs, _BATCH)):
                rows = [row for row, _ in batch]
                speech = encoders.speech([clip.samples for _, clip in batch])
                languages = [row["language"] for row in rows]
                text = encoders.text([row["label"] for row in rows], languages)
                for (_, clip), near in zip(batch, cosines(speech, text), strict=True):
                    yield {"id": clip.id, "similarity": None if np.isnan(near) else float(near)}

        return measure


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each row of a with that of b. [n, d], [n, d] -> float64 [n], NaN for rows of zeros."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.where(lengths > 0, lengths, np.nan)
