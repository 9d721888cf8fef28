"""What scores add by looking at the sound again: measured once, clip by clip, shard by shard."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pyarrow as pa

from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Clip, Corpus, Utterance, clips
from distil_jax.labelling.corpus import make_shards
from distil_jax.labelling.filters.base import MeasuredScore, Measurer
from distil_jax.labelling.store import LabelStore

_ID = pa.field("id", pa.string())


class MeasuredShard(NamedTuple):
    """What was done about one shard: its utterances; the clips measured now."""

    utterances: int
    clips: int
    audio_seconds: float


def schema(score: MeasuredScore) -> pa.Schema:
    """Of the table that a score adds: the clip's id and its own columns."""
    return pa.schema([_ID, *score.adds])


def measure_corpus(
    corpus: Corpus,
    rows: Mapping[str, dict],
    measurer: Measurer,
    store: LabelStore,
    shard_size: int,
) -> Iterator[MeasuredShard]:
    """Measure every labelled clip of `corpus`. What an earlier run finished is left as it is.

    rows: of the label table, by the clip's id. What was set aside when labelling is passed over.
    """
    seconds: list[float] = []

    def pairs(utterances: list[Utterance]) -> Iterator[tuple[dict, Clip]]:
        for clip in clips(corpus.name, utterances, Quarantine(None)):
            if clip.id in rows:
                seconds.append(clip.duration)
                yield rows[clip.id], clip

    def measure(_: int, utterances: list[Utterance]) -> list[dict]:
        return list(measurer(pairs(utterances)))

    for utterances, _ in make_shards(corpus, store, shard_size, measure):
        yield MeasuredShard(utterances, len(seconds), sum(seconds))
        seconds.clear()


def join(labels: pa.Table, corpus: str, measured: pa.Table) -> pa.Table:
    """The labels of one corpus with the columns that a score added; null where it added nothing."""
    by_id = {row["id"]: row for row in measured.to_pylist()}
    own = labels.filter(
        pa.array([each == corpus for each in labels["corpus"].to_pylist()], pa.bool_())
    )
    for field in measured.schema:
        if field.name != _ID.name:
            values = [by_id.get(id, {}).get(field.name) for id in own["id"].to_pylist()]
            own = own.append_column(field, pa.array(values, field.type))
    return own
