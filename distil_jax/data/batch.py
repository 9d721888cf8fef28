"""A batch of clips and targets, with one shape for each target length."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from distil_jax.data.audio import SAMPLE_RATE
from distil_jax.data.targets import Target
from distil_jax.errors import ConfigError

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
    labels [b, t] int32; mask [b, t] bool.
    """

    samples: Array
    seconds: Array
    inputs: Array
    labels: Array
    mask: Array


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
