"""The stage that labels: a teacher writes down what it hears."""

from collections import Counter
from typing import Any

import jax
import pyarrow as pa

from distil_jax import processes
from distil_jax.data.speech import Corpus
from distil_jax.labelling.corpus import LabelledShard, label_corpus
from distil_jax.labelling.draft import acceptance
from distil_jax.labelling.store import LabelStore
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.models.architecture import decoding_flops
from distil_jax.pipeline.session import Session
from distil_jax.processes.parts import merge_parts, own_part
from distil_jax.progress import progress
from distil_jax.run import append_jsonl, read_jsonl
from distil_jax.training.telemetry import Stopwatch, compute_row


def label_stage(session: Session) -> dict[str, Any]:
    """The teacher labels every training corpus."""
    session.check_decoding("label")
    corpora = session.corpora("train")
    stores = claim_labels(session)
    unfinished = [name for name in corpora if not stores[name].finished(corpora[name].state)]
    if unfinished:
        transcriber = session.labeller()
        params = transcriber.place(session.teacher.params)
        for name in unfinished:
            _label(session, corpora[name], stores[name], transcriber, params)
    merge_parts(session.folder.compute)
    session.quarantine.merge()
    labels = all_labels(session, ["corpus", "duration"])
    drafted = _drafted(session)
    counts = {name: labels["corpus"].to_pylist().count(name) for name in session.config.data.train}
    return {
        "clips": counts,
        "hours": round(sum(labels["duration"].to_pylist()) / 3600, 4),
        "set_aside": session.quarantine.count,
        "labels": str(session.folder.labels),
        **({"speculative": acceptance(drafted)} if drafted else {}),
    }


def _drafted(session: Session) -> Counter[str]:
    """Of all labels that were ever made speculatively in this run: sums by Speculation's names."""
    rows = read_jsonl(session.folder.compute)
    drafted = Counter()
    for row in rows:
        drafted.update(row.get("speculation", {}))
    return drafted


def claim_labels(session: Session) -> dict[str, LabelStore]:
    """The label store of each training corpus; labels made otherwise are an error."""
    stores = label_stores(session)
    for name, store in stores.items():
        store.claim(session.label_fingerprint(name))
    processes.barrier("claimed")  # no shard may be written before every process has looked
    if not session.folder.trained:  # then the training says whether the config fits
        session.write_config()
    return stores


def check_labels(session: Session) -> None:
    """Raises UserError where labels were made otherwise than the config has it."""
    for name, store in label_stores(session).items():
        store.check(session.label_fingerprint(name))


def _label(
    session: Session, corpus: Corpus, store: LabelStore, transcriber: Transcriber, params: dict
) -> None:
    watch = Stopwatch()
    size = session.config.label.shard_size
    shards = label_corpus(corpus, transcriber, params, store, session.quarantine, size)
    with progress(total=corpus.count, description=f"label {corpus.name}", unit="clips") as bar:
        step = 0
        while True:
            with watch.measure("step"):
                done = next(shards, None)
            if done is None:
                break
            step += 1
            bar.advance(done.utterances)
            if done.clips:
                drafted = transcriber.take_drafted()
                row = _compute_row(transcriber, step, done, drafted, watch.take())
                append_jsonl(own_part(session.folder.compute), [row])


def _compute_row(
    transcriber: Transcriber,
    step: int,
    done: LabelledShard,
    drafted: Counter[str],
    seconds: dict[str, float],
) -> dict:
    counts: dict[str, Any] = {
        "clips": done.clips,
        "audio_seconds": round(done.audio_seconds, 3),
        "target_tokens": done.tokens,
    }
    tokens, draft = done.tokens, transcriber.draft
    if draft is not None:
        counts["speculation"] = dict(drafted)
        # Each computes as many: the teacher reads the draft and the token before it, the draft
        # model the two tokens that it begins with.
        tokens = done.clips + drafted["rounds"] * (draft.tokens + 1)
    encoder, decoder = decoding_flops(transcriber.model, done.clips, tokens)
    flops = {"encoder_forward": encoder, "teacher_forward": decoder}
    if draft is not None:
        own, flops["student_forward"] = decoding_flops(draft.model, done.clips, tokens)
        flops["encoder_forward"] += own if "encoder" in draft.params else 0
    devices = jax.local_device_count()  # each process decodes for itself
    return compute_row("label", step, counts, flops, seconds, devices=devices)


def label_stores(session: Session) -> dict[str, LabelStore]:
    """By training corpus."""
    return {name: LabelStore(session.folder.labels / name) for name in session.config.data.train}


def all_labels(session: Session, columns: list[str] | None = None) -> pa.Table:
    """The labels of all training corpora, one after the other."""
    stores = label_stores(session).values()
    return pa.concat_tables([store.read(columns) for store in stores])
