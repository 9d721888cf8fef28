"""From labels and scores on disk to examples for the loader."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from distil_jax import processes
from distil_jax.data.loader import Example, LoaderConfig
from distil_jax.data.speech import Clip, Corpus, load_clip
from distil_jax.data.targets import TargetTokens
from distil_jax.errors import UserError
from distil_jax.labelling.packing import Spoken, pack, with_previous
from distil_jax.labelling.store import LabelStore
from distil_jax.models.log_mel import CLIP_SAMPLES
from distil_jax.models.vocabulary import Vocabulary
from distil_jax.pipeline.filter import filter_scores
from distil_jax.pipeline.label import all_labels, label_stores
from distil_jax.pipeline.session import Session

log = logging.getLogger(__name__)


def target_tokens(vocabulary: Vocabulary, max_length: int) -> TargetTokens:
    return TargetTokens(
        end=vocabulary.end,
        previous=vocabulary.previous,
        no_timestamps=vocabulary.no_timestamps,
        first_timestamp=vocabulary.first_timestamp,
        max_length=max_length,
    )


def loader_config(
    session: Session, batch_size: int, rows: Sequence[int] | None = None
) -> LoaderConfig:
    """How the training data are read, in batches of so many clips, of which `rows` are loaded."""
    train, positions = session.config.train, session.teacher.config.max_target_positions
    return LoaderConfig(
        batch_size=batch_size,
        seed=session.config.seed,
        target_lengths=sorted({min(length, positions) for length in train.target_lengths}),
        clip_samples=CLIP_SAMPLES,
        rows=rows,
        timestamp_probability=train.timestamp_probability,
        previous_text_probability=train.previous_text_probability,
    )


def split_examples(session: Session) -> tuple[list[Example], list[Clip]]:
    """(what to train on, what to validate with) of the clips that the filter kept.

    The second is empty when the config names validation data, or asks for no such clips. Which
    clips are set apart depends on their ids alone, so it is the same in every run. Of several
    processes each has the first whole and its share of the second.
    """
    kept = _kept_rows(session)
    apart = _set_apart(session, [row["id"] for row in kept])
    sources = _sources(session)
    spoken, validation, set_apart = [], [], 0
    for row in kept:
        reader = partial(_samples, sources[row["corpus"]], row["utterance"], row["start"])
        if row["id"] in apart:
            if processes.is_mine(set_apart):
                validation.append(_clip(row, reader()))
            set_apart += 1
        else:
            example = _example(session, row, reader)
            spoken.append(Spoken(example, row["speaker"], row["language"]))
    return with_previous(_packed(session, spoken)), validation


def _packed(session: Session, clips: list[Spoken]) -> list[Spoken]:
    """Joined, where the config wants that: as long as a target may be."""
    train, positions = session.config.train, session.teacher.config.max_target_positions
    if not train.pack_clips:
        return clips
    longest = min(train.target_lengths[-1], positions)
    packs = pack(clips, session.teacher.vocabulary, longest)
    log.info("packed %d clips to %d of up to 30 s", len(clips), len(packs))
    return packs


def labelled_clips(session: Session, count: int) -> list[tuple[Clip, list[int]]]:
    """At most so many clips that the filter kept, from all over the data, and their labels."""
    rows = [row for row in _kept_rows(session) if len(row["tokens"]) > 1]
    sources = _sources(session)

    def clip(row: dict) -> Clip:
        return _clip(row, _samples(sources[row["corpus"]], row["utterance"], row["start"]))

    chosen = rows[:: max(1, len(rows) // count)][:count]
    return [(clip(row), row["tokens"]) for row in chosen]


def _kept_rows(session: Session) -> list[dict]:
    scores = filter_scores(session, ["id", "corpus", "kept"])
    kept = {(row["corpus"], row["id"]) for row in scores if row["kept"]}
    if not scores:
        raise UserError(
            f"no clip was labelled; {session.folder.quarantine} says what was set aside, and why"
        )
    if not kept:
        raise UserError(
            f"the filter kept none of {len(scores)} clips (filter.max_error_rate is "
            f"{session.config.filter.max_error_rate}, and there are "
            f"{len(session.config.filter.filters)} other filters); look at "
            f"{session.folder.filter / 'histogram.png'} and let it keep more"
        )
    return [r for r in all_labels(session).to_pylist() if (r["corpus"], r["id"]) in kept]


def _set_apart(session: Session, ids: list[str]) -> set[str]:
    """At most a tenth of the clips, so that small data keep most of theirs for training."""
    if session.config.data.validation:
        return set()
    count = min(session.config.train.validation_clips, len(ids) // 10)
    return set(sorted(ids, key=lambda id: hashlib.sha256(id.encode()).digest())[:count])


def _example(session: Session, row: dict, load: Callable[[], np.ndarray]) -> Example:
    vocabulary, task = session.teacher.vocabulary, session.config.label.task
    prefix = vocabulary.prefix(row["language"], task, timestamps=True)
    return Example(
        row["id"], load, prefix, row["tokens"], corpus=row["corpus"], seconds=row["duration"]
    )


def _sources(session: Session) -> dict[str, Corpus | LabelStore]:
    """What has the recordings of each training corpus; a stream's were kept with its labels."""
    corpora, stores = session.corpora("train"), label_stores(session)
    return {n: corpus if corpus.random_access else stores[n] for n, corpus in corpora.items()}


def _samples(source: Corpus | LabelStore, utterance: str, start: float) -> np.ndarray:
    return load_clip(source.fetch(utterance), start)


def _clip(row: dict, samples: np.ndarray) -> Clip:
    return Clip(
        id=row["id"],
        corpus=row["corpus"],
        utterance=row["utterance"],
        start=row["start"],
        samples=samples,
        text=row["reference"] if row["reference"] is not None else row["label"],
        language=row["language"],
        speaker=row["speaker"],
    )
