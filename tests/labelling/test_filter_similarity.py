"""Encoders of speech and text are asked for the cosine of each clip with its label."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest

from distil_jax.data.speech import Clip
from distil_jax.labelling.filters.measure import join, schema
from distil_jax.labelling.filters.similarity import Encoders, Similarity
from tests.labelling.made_up_labels import NO_MODELS, label_table


class MadeUp:
    """Into three dimensions: of speech by its samples, of text by its letters."""

    def speech(self, samples: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([each[:3] for each in samples])

    def text(self, texts: Sequence[str], languages: Sequence[str | None]) -> np.ndarray:
        assert set(languages) == {"en"}
        return np.array([[text.count(letter) for letter in "abc"] for text in texts])


class OfLetters(Similarity):
    name: Literal["of_letters"] = "of_letters"

    def check(self) -> None: ...

    def encoders(self) -> Encoders:
        return MadeUp()


def test_the_cosine_of_each_clip_with_its_label():
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice([*"abc"], 9)) for _ in range(39)] + ["xyz"]
    sounds = [rng.normal(size=5).astype(np.float32) for _ in texts]
    labels = label_table([{"label": text} for text in texts])
    rows = labels.to_pylist()
    pairs = [
        (row, Clip(row["id"], "corpus", row["id"], 0.0, sound, None, "en", None))
        for row, sound in zip(rows, sounds, strict=True)
    ]
    score = OfLetters()
    measure = score.measurer(NO_MODELS)
    made = pa.Table.from_pylist(list(measure(iter(pairs))), schema(score))
    found = score.of(join(labels, "corpus", made))
    for text, sound, near in zip(texts[:-1], sounds, found, strict=False):
        counts, heard = [text.count(letter) for letter in "abc"], sound[:3].tolist()
        dot = sum(x * y for x, y in zip(counts, heard, strict=True))
        assert near == pytest.approx(dot / math.hypot(*counts) / math.hypot(*heard))
    assert np.isnan(found[-1])
    assert np.nanmax(score.badness(join(labels, "corpus", made))) == -np.nanmin(found)
