"""The label table with all that filters ask for: what labelling left, and what must be measured."""

from collections.abc import Iterable

import jax
import pyarrow as pa

from distil_jax import processes
from distil_jax.config import at_key
from distil_jax.data.speech import Corpus
from distil_jax.labelling.filters import columns
from distil_jax.labelling.filters.base import MeasuredScore, Measurer, Models, Score
from distil_jax.labelling.filters.measure import join, measure_corpus, schema
from distil_jax.labelling.store import SCHEMA, LabelStore
from distil_jax.pipeline.label import all_labels, claim_labels, label_stores
from distil_jax.pipeline.session import Session
from distil_jax.processes.parts import merge_parts, own_part
from distil_jax.progress import progress
from distil_jax.run import append_jsonl, fingerprint
from distil_jax.training.telemetry import Stopwatch, compute_row


def scored_labels(session: Session, scores: Iterable[Score]) -> pa.Table:
    """The labels of all training corpora with the columns that filtering by `scores` reads.

    What is not measured yet is measured. Raises UserError when labelling has not ended.
    """
    scores = list(scores)
    labels = all_labels(session, [name for name in columns(scores) if name in SCHEMA.names])
    claim_labels(session)
    for score in scores:
        if isinstance(score, MeasuredScore):
            labels = _with_measured(session, score, labels)
    return labels


def _with_measured(session: Session, score: MeasuredScore, labels: pa.Table) -> pa.Table:
    """The labels and what the score adds."""
    corpora, stores = session.corpora("train"), _stores(session, score)
    missing = [name for name in corpora if not stores[name].finished(corpora[name].state)]
    if missing:
        with at_key(f"filter.scores, {score.name}"):
            measurer = score.measurer(Models(session.teacher, session.transcriber_of))
        rows = labels.select(["id", "corpus", "label", "language"]).to_pylist()
        for name in missing:
            own = {row["id"]: row for row in rows if row["corpus"] == name}
            _measure(session, score, corpora[name], own, measurer, stores[name])
        merge_parts(session.folder.compute)
    joined = [join(labels, name, store.read()) for name, store in stores.items()]
    return pa.concat_tables(joined)


def _stores(session: Session, score: MeasuredScore) -> dict[str, LabelStore]:
    """Where the score's columns are, by corpus; columns measured otherwise are an error."""
    what = f"{score.name} scores of other labels, or made with other settings"
    settings = score.model_dump(mode="json")
    stores = {}
    for name, labels in label_stores(session).items():
        folder = session.folder.scores / score.name / name
        stores[name] = LabelStore(folder, schema(score), what, "filter")
        made_with = session.label_fingerprint(name), labels.content, settings
        stores[name].claim(fingerprint(*made_with))
    processes.barrier("claimed")  # no shard may be written before every process has looked
    return stores


def _measure(
    session: Session,
    score: MeasuredScore,
    corpus: Corpus,
    rows: dict[str, dict],
    measurer: Measurer,
    store: LabelStore,
) -> None:
    watch, step = Stopwatch(), 0
    shards = measure_corpus(corpus, rows, measurer, store, session.config.label.shard_size)
    what = f"{score.name} {corpus.name}"
    with progress(total=corpus.count, description=what, unit="clips") as bar:
        while True:
            with watch.measure("step"):
                done = next(shards, None)
            if done is None:
                break
            step += 1
            bar.advance(done.utterances)
            if done.clips:
                counts = {"clips": done.clips, "audio_seconds": round(done.audio_seconds, 3)}
                row = compute_row(
                    f"score {score.name}",
                    step,
                    counts,
                    {},  # not counted
                    watch.take(),
                    devices=jax.local_device_count(),
                )
                append_jsonl(own_part(session.folder.compute), [row])
