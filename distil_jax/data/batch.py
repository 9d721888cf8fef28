"""A batch of clips and targets, with one shape for each target length."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from distil_jax.data.audio import SAMPLE_RATE
from distil_jax.data.targets import Target
from distil_jax.errors import ConfigError
from distil_jax.mesh import place

Array = Any  # of numpy on the host, of jax on the devices


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["samples", "seconds", "inputs", "labels", "mask"],
    meta_fields=[],
)
@dataclass(frozen=True)
class SpeechBatch:
    """A training batch.

    samples [b, 480000] float32 at 16 kHz; seconds [b] float32, of them before the padding; inputs,
    labels [b, t] int32; mask [b, t] bool. On the host, samples may be of some rows only: of those
    that this process's devices work on (LoaderConfig.rows).
    """

    samples: Array
    seconds: Array
    inputs: Array
    labels: Array
    mask: Array


def place_batch(batch: SpeechBatch, rows: Sequence[int], sharding: NamedSharding) -> SpeechBatch:
    """The global batch on the devices. rows: those whose samples this process loaded, ascending.

    Each process gives its devices their parts; nothing goes from process to process.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(batch, sharding)

    def own(part: Any) -> np.ndarray:
        first, last, _ = part[0].indices(size)
        begin = bisect_left(rows, first)
        return batch.samples[begin : begin + last - first]

    size = len(batch.inputs)
    shape = (size, *batch.samples.shape[1:])
    samples = jax.make_array_from_callback(shape, sharding, own)
    others = replace(batch, samples=batch.inputs)  # a stand-in of the right number of rows
    return replace(place(others, sharding), samples=samples)


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
    clips: Sequence[np.ndarray], targets: Sequence[Target], lengths: Sequence[int], samples: int
) -> SpeechBatch:
    """Pad clips to `samples`, targets to the first of `lengths` that holds the longest."""
    padded = padded_length(max(len(target) for target in targets), lengths)

    def pad(name: str, dtype: type) -> np.ndarray:
        rows = np.zeros((len(targets), padded), dtype)
        for row, target in zip(rows, targets, strict=True):
            row[: len(target)] = getattr(target, name)
        return rows

    return SpeechBatch(
        pad_samples(clips, samples),
        np.array([len(clip) / SAMPLE_RATE for clip in clips], np.float32),
        pad("inputs", np.int32),
        pad("labels", np.int32),
        pad("mask", bool),
    )
