"""Labelling: a teacher writes down what it hears in every clip of a corpus, shard by shard."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from distil_jax import processes
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Clip, Corpus, Utterance, clips
from distil_jax.labelling.label import Label
from distil_jax.labelling.store import LabelStore
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.run import fingerprint


class LabelledShard(NamedTuple):
    """What was done about one shard: its utterances; the clips labelled now, and their tokens."""

    utterances: int
    clips: int
    audio_seconds: float
    tokens: int


def label_corpus(
    corpus: Corpus,
    transcriber: Transcriber,
    params: dict,
    store: LabelStore,
    quarantine: Quarantine,
    shard_size: int,
) -> Iterator[LabelledShard]:
    """Label every utterance of `corpus`. What an earlier run finished is left as it is.

    A shard holds the clips of the next `shard_size` utterances, in batches of its own.
    """

    def label(number: int, utterances: list[Utterance]) -> list[dict]:
        good = clips(corpus.name, utterances, quarantine, transcriber.vocabulary.codes)
        rows = [_row(clip, label) for clip, label in transcriber(params, good)]
        if not corpus.random_access:
            store.write_audio(number, _recordings(utterances, rows))
        return rows

    for utterances, rows in make_shards(corpus, store, shard_size, label):
        yield LabelledShard(
            utterances,
            len(rows),
            sum(row["duration"] for row in rows),
            sum(len(row["tokens"]) for row in rows),
        )


def make_shards(
    corpus: Corpus,
    store: LabelStore,
    shard_size: int,
    make: Callable[[int, list[Utterance]], list[dict]],
) -> Iterator[tuple[int, list[dict]]]:
    """Write what `make` says of the utterances of each shard that is not there yet, in `store`.

    make: (number of the shard, its utterances) -> rows of the store. Yields (number of utterances,
    rows made now) of each shard. Redone after a kill, or by another process, a shard comes out bit
    for bit the same. Several processes take turns at the shards; those of others pass by unmade.
    """
    shards = []
    for number, utterances in enumerate(_groups(corpus, shard_size)):
        rows: list[dict] = []
        shards.append(content := fingerprint([each.content for each in utterances]))
        if processes.is_mine(number) and not store.has(number, content):
            rows = make(number, utterances)
            store.write(number, content, rows)
        yield len(utterances), rows
    processes.barrier("labelled")
    if processes.is_writer():
        store.finish(shards, corpus.state)
    processes.barrier("finished")


def _recordings(utterances: Iterable[Utterance], rows: Iterable[dict]) -> dict[str, bytes]:
    """The bytes of those that were labelled, for training: a stream cannot be read again."""
    labelled = {row["utterance"] for row in rows}
    found = {u.id: u.audio for u in utterances if u.audio is not None and u.id in labelled}
    return {id: a.read_bytes() if isinstance(a, Path) else a for id, a in found.items()}


def _row(clip: Clip, label: Label) -> dict:
    return {
        "id": clip.id,
        "corpus": clip.corpus,
        "utterance": clip.utterance,
        "start": clip.start,
        "duration": clip.duration,
        "reference": clip.text,
        "language": label.language,
        "speaker": clip.speaker,
        "label": label.text,
        "tokens": label.tokens,
        "ended": label.ended,
        "mean_logprob": label.mean_logprob,
        "mean_entropy": label.mean_entropy,
        "no_speech_prob": label.no_speech_prob,
        "compression_ratio": label.compression_ratio,
        "temperature": label.temperature,
    }


def _groups(utterances: Iterable[Utterance], size: int) -> Iterator[list[Utterance]]:
    utterances = iter(utterances)
    while group := list(islice(utterances, size)):
        yield group
