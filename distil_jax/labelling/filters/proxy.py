"""A second model's opinion: where both hear the same, both are seldom wrong."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from distil_jax.data.speech import Clip
from distil_jax.labelling.filters.base import MeasuredScore, Measurer, Models, error_rate


class Proxy(MeasuredScore):
    """Percent error rate of the label against the text that a second model writes (uDistil, proxy).

    Counted as against a reference; an empty text of the second model counts as one word, so that a
    label for what it hears as silence is far off. It cannot tell of clips in a language that the
    second model does not know. Clips without a language are detected by the second model itself.
    """

    name: Literal["proxy"] = "proxy"
    # The second model: as teacher.weights, sha256, revision; decoded by the settings of `label`.
    weights: str | list[str]
    sha256: str | None = None
    revision: str | None = None
    good = "low"
    columns = ("label", "language", "proxy_label")
    adds = (pa.field("proxy_label", pa.string()),)

    def of(self, labels: pa.Table) -> np.ndarray:
        return np.array([_rate(row) for row in labels.select([*self.columns]).to_pylist()], float)

    def check(self) -> None:
        from distil_jax.models.weight_files import model_files

        model_files(self._locations, self.revision)

    def measurer(self, models: Models) -> Measurer:
        from distil_jax.models.pretrained import load_pretrained

        model = load_pretrained(self._locations, self.sha256, self.revision)
        transcriber, codes = models.transcriber_of(model), (None, *model.vocabulary.codes)
        params = transcriber.place(model.params)

        def measure(pairs: Iterable[tuple[dict, Clip]]) -> Iterator[dict[str, Any]]:
            told = transcriber.config.language
            known = (clip for _, clip in pairs if (clip.language or told) in codes)
            for clip, label in transcriber(params, known):
                yield {"id": clip.id, "proxy_label": label.text}

        return measure

    @property
    def _locations(self) -> list[str]:
        return [self.weights] if isinstance(self.weights, str) else self.weights


def _rate(row: dict) -> float:
    if row["proxy_label"] is None:
        return np.nan
    return error_rate(row["proxy_label"], row["label"], row["language"])
