"""The stage that makes the signals cache."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from distil_jax import processes
from distil_jax.data.batch import SpeechBatch, StoredSignals
from distil_jax.data.loader import Example, ordered_batches
from distil_jax.errors import UserError
from distil_jax.labelling.signal_store import ClipKey, SignalStore
from distil_jax.labelling.teacher_signals import TeacherSignals
from distil_jax.models.architecture import architecture_of
from distil_jax.pipeline.examples import loader_config, split_examples, target_tokens
from distil_jax.pipeline.filter import check_filtered
from distil_jax.pipeline.label import check_labels
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.signals import (
    clip_keys,
    made_with,
    signal_store,
    signals_settings,
    teacher_signals,
)
from distil_jax.processes.parts import merge_parts, own_part
from distil_jax.progress import progress
from distil_jax.run import append_jsonl
from distil_jax.training.telemetry import Stopwatch, compute_row

log = logging.getLogger(__name__)
_GIB = 2**30


def cache_stage(session: Session) -> dict[str, Any]:
    """Keep what the teacher shows of each clip to train on; what is there already is left.

    A cache of another run (signals.path) is only looked through.
    """
    settings = signals_settings(session)
    session.check_training()
    check_labels(session)
    check_filtered(session)
    examples, _ = split_examples(session)
    keys, store = clip_keys(session, examples), signal_store(session)
    if settings.path is None:
        _make(session, store, examples, keys)
    store.check(made_with(session))
    store.find(keys)
    size = _bytes(session, keys)
    return {
        "clips": len(keys),
        "bytes_per_clip": round(size / len(keys)),
        "gib": round(size / _GIB, 4),
        "signals": str(store.folder),
    }


@dataclass(frozen=True)
class _Shard:
    """A file of the cache that is to be there."""

    index: int
    examples: Sequence[Example]
    keys: Sequence[ClipKey]


def _make(
    session: Session, store: SignalStore, examples: Sequence[Example], keys: Sequence[ClipKey]
) -> None:
    """Write the shards that are not there yet; of several processes each writes its own."""
    size = signals_settings(session).shard_size
    parts = [slice(first, first + size) for first in range(0, len(keys), size)]
    shards = [_Shard(number, examples[part], keys[part]) for number, part in enumerate(parts)]
    if processes.is_writer():
        store.claim(made_with(session))
        store.drop_after(len(shards))
        if not session.folder.trained:  # then the training says whether the config fits
            session.write_config()
    processes.barrier("signals claimed")
    missing = [shard for shard in shards if not store.has(shard.index, shard.keys)]
    mine = [each for each in missing if processes.is_mine(each.index)]
    if missing:
        _announce(session, store, [key for shard in missing for key in shard.keys])
    if mine:
        _write(session, store, mine)
    merge_parts(session.folder.compute)


def _announce(session: Session, store: SignalStore, keys: Sequence[ClipKey]) -> None:
    """Say what the clips will take. Raises UserError when the disk has no room for them."""
    size, free = _bytes(session, keys), shutil.disk_usage(store.folder).free
    log.info(
        "signals cache: %d bytes a clip, %.3f GiB for %d clips (%.1f GiB are free)",
        size / len(keys),
        size / _GIB,
        len(keys),
        free / _GIB,
    )
    if size > free:
        raise UserError(
            f"the signals cache takes {size / _GIB:.3f} GiB more, and {store.folder} has "
            f"{free / _GIB:.3f} GiB free. Make room, or choose another run_dir, a smaller "
            f"signals.top_k, signals.dtype=float16 or signals.encoder_states=false"
        )


def _bytes(session: Session, keys: Sequence[ClipKey]) -> int:
    """Of clips in the cache."""
    of_position, of_clip = teacher_signals(session).bytes_of(session.teacher.params)
    return of_clip * len(keys) + of_position * sum(key.positions for key in keys)


def _write(session: Session, store: SignalStore, shards: Sequence[_Shard]) -> None:
    teacher = teacher_signals(session)
    devices = teacher.mesh.size
    size = -(-session.config.label.batch_size // devices) * devices
    ids = target_tokens(session.teacher.vocabulary, session.teacher.config.max_target_positions)
    groups = [
        shard.examples[first : first + size]
        for shard in shards
        for first in range(0, len(shard.examples), size)
    ]
    batches = ordered_batches(groups, ids, loader_config(session, size))
    params, watch = teacher.place(session.teacher.params), Stopwatch()
    total = sum(len(shard.keys) for shard in shards)
    with progress(total=total, description="cache", unit="clips") as bar:
        for shard in shards:
            count = -(-len(shard.keys) // size)
            made = _compute(teacher, params, shard, islice(batches, count), watch)
            with watch.measure("checkpoint"):
                store.write(shard.index, shard.keys, made.signals)
            row = compute_row("cache", shard.index + 1, made.counts, made.flops, watch.take())
            append_jsonl(own_part(session.folder.compute), [row])
            bar.advance(len(shard.keys))


@dataclass
class _Made:
    """Of a shard: its clips' signals in order, and what they took."""

    signals: list[StoredSignals] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)


def _compute(
    teacher: TeacherSignals,
    params: dict,
    shard: _Shard,
    batches: Iterator[SpeechBatch],
    watch: Stopwatch,
) -> _Made:
    made, encoder, decoder = _Made(), 0.0, 0.0
    model = architecture_of(teacher.model)
    while True:
        with watch.measure("data_wait"):
            batch = next(batches, None)
        if batch is None:
            break
        done, (rows, positions) = len(made.signals), batch.inputs.shape
        lengths = [key.positions for key in shard.keys[done : done + rows]]
        with watch.measure("step"):
            made.signals += teacher(params, batch, lengths)
        encoder += len(lengths) * model.encoder_flops(teacher.model).forward
        decoder += len(lengths) * model.decoder_flops(teacher.model, positions).forward
    made.counts = {
        "clips": len(shard.keys),
        "audio_seconds": round(sum(each.seconds for each in shard.examples), 3),
        "target_tokens": sum(key.positions for key in shard.keys),
    }
    made.flops = {"encoder_forward": encoder, "teacher_forward": decoder}
    return made
