"""What the teacher says when it may choose otherwise: of what it hears well, the same again."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from distil_jax.data.speech import Clip
from distil_jax.labelling.filters.base import MeasuredScore, Measurer, Models, error_rate

_BATCHES = 4  # whose clips are in memory until every temperature was heard


class Agreement(MeasuredScore):
    """How much of a label the teacher says again when its tokens are drawn at random.

    100 less the mean percent error rate, against the label, of a text drawn at each temperature; an
    empty label counts as one word. Clips are decoded in the language of their labels.
    """

    name: Literal["agreement"] = "agreement"
    temperatures: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(
        default=(0.4, 0.8), min_length=1
    )
    good = "high"
    columns = ("label", "language", "drawn_texts")
    adds = (pa.field("drawn_texts", pa.list_(pa.string())),)

    def of(self, labels: pa.Table) -> np.ndarray:
        return np.array([_agreement(row) for row in labels.select([*self.columns]).to_pylist()])

    def check(self) -> None:
        """The teacher is there."""

    def measurer(self, models: Models) -> Measurer:
        transcriber = models.transcriber_of(models.teacher)
        params = transcriber.place(models.teacher.params)

        def measure(pairs: Iterable[tuple[dict, Clip]]) -> Iterator[dict[str, Any]]:
            clips = (replace(clip, language=row["language"]) for row, clip in pairs)
            while window := list(islice(clips, _BATCHES * transcriber.batch_size)):
                drawn = [
                    [label.text for _, label in transcriber(params, window, (temperature,))]
                    for temperature in self.temperatures
                ]
                for clip, *texts in zip(window, *drawn, strict=True):
                    yield {"id": clip.id, "drawn_texts": texts}

        return measure


def _agreement(row: dict) -> float:
    if row["drawn_texts"] is None:
        return np.nan
    rates = [error_rate(row["label"], drawn, row["language"]) for drawn in row["drawn_texts"]]
    return 100.0 - float(np.mean(rates))
