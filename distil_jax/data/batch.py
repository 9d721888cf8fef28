"""A batch of clips and targets, with one shape for each target length."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding

from distil_jax.data.targets import Target
from distil_jax.errors import ConfigError
from distil_jax.mesh import place
from distil_jax.objectives.signals import Teacher
from distil_jax.objectives.stored import LogProbs, TopK

Array = Any  # of numpy on the host, of jax on the devices


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["samples", "seconds", "inputs", "labels", "mask", "teacher", "encoded"],
    meta_fields=[],
)
@dataclass(frozen=True)
class SpeechBatch:
    """A training batch.

    samples [b, 480000] float32 at 16 kHz; seconds [b] float32, of them before the padding; inputs,
    labels [b, t] int32; mask [b, t] bool. Of a signals cache, else None: the teacher's
    distributions; what its encoder made of the clips [b, s, d], and then samples is None. On the
    host, samples, teacher and encoded may be of some rows only: of those that this process's
    devices work on (LoaderConfig.rows).
    """

    samples: Array
    seconds: Array
    inputs: Array
    labels: Array
    mask: Array
    teacher: Teacher | None = None
    encoded: Array = None


class StoredSignals(NamedTuple):
    """What a signals cache holds of one clip.

    log_probs [t, k + 1] and tokens [t, k] as in objectives.stored.TopK; or log_probs [t, v] and no
    tokens. encoded [s, d] where it was kept.
    """

    log_probs: np.ndarray
    tokens: np.ndarray | None
    temperature: float
    encoded: np.ndarray | None


def place_batch(batch: SpeechBatch, rows: Sequence[int], sharding: NamedSharding) -> SpeechBatch:
    """The global batch on the devices. rows: those whose samples this process loaded, ascending.

    Each process gives its devices their parts; nothing goes from process to process.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(batch, sharding)

    def put(local: np.ndarray) -> jax.Array:
        def own(part: Any) -> np.ndarray:
            first, last, _ = part[0].indices(size)
            begin = bisect_left(rows, first)
            return local[begin : begin + last - first]

        return jax.make_array_from_callback((size, *local.shape[1:]), sharding, own)

    size = len(batch.inputs)
    whole = replace(batch, samples=batch.inputs, teacher=None, encoded=None)  # inputs: a stand-in
    samples, teacher, encoded = jax.tree.map(put, (batch.samples, batch.teacher, batch.encoded))
    return replace(place(whole, sharding), samples=samples, teacher=teacher, encoded=encoded)


def pad_samples(clips: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Clips of any lengths up to `length`, zeros after them. -> [b, length] float32."""
    padded = np.zeros((len(clips), length), np.float32)
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip)] = clip
    return padded


def padded_length(longest: int, lengths: Sequence[int]) -> int:
    """The first of `lengths` that holds the longest target. Raises ConfigError when none does."""
    fitting = [length for length in lengths if length >= longest]
    if not fitting:
        raise ConfigError(
            f"a target has {longest} tokens, more than the largest of train.target_lengths "
            f"{list(lengths)}; add a larger one (448 holds every target)"
        )
    return fitting[0]


def make_batch(
    clips: Sequence[np.ndarray],
    seconds: Sequence[float],
    targets: Sequence[Target],
    lengths: Sequence[int],
    samples: int,
    stored: Sequence[StoredSignals] = (),
) -> SpeechBatch:
    """Pad clips to `samples`, targets to the first of `lengths` that holds the longest.

    stored: of the same clips, where a signals cache is read; `clips` may be empty then.
    """
    padded = padded_length(max(len(target) for target in targets), lengths)

    def pad(name: str, dtype: type) -> np.ndarray:
        return _padded([getattr(target, name).astype(dtype) for target in targets], padded)

    return SpeechBatch(
        pad_samples(clips, samples) if clips else None,
        np.array(seconds, np.float32),
        pad("inputs", np.int32),
        pad("labels", np.int32),
        pad("mask", bool),
        _teacher(stored, padded),
        np.stack([np.asarray(each.encoded) for each in stored]) if not clips else None,
    )


def _teacher(stored: Sequence[StoredSignals], length: int) -> Teacher | None:
    if not stored:
        return None
    log_probs = _padded([each.log_probs for each in stored], length)
    tokens = [each.tokens for each in stored if each.tokens is not None]
    if not tokens:
        return LogProbs(log_probs)
    return TopK(log_probs, _padded(tokens, length), stored[0].temperature)


def _padded(rows: Sequence[np.ndarray], length: int) -> np.ndarray:
    """[t, ...] of any t up to `length`, zeros after them -> [b, length, ...]."""
    padded = np.zeros((len(rows), length, *rows[0].shape[1:]), rows[0].dtype)
    for into, row in zip(padded, rows, strict=True):
        into[: len(row)] = row
    return padded
