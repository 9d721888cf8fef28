"""Recordings of any length, piece by piece: hours of sound in the memory of seconds."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soxr

from distil_jax.data.audio import (
    SAMPLE_RATE,
    UNREADABLE,
    BadAudio,
    check_heard,
    native_blocks,
    open_sound,
)

_LONGEST_STATED = 1000 * 3600.0  # s: a header that says more is damaged, or knows no length


def audio_blocks(source: Path | bytes) -> Iterator[np.ndarray]:
    """The very samples of `read_audio`, a few thousand at a time: float32 [n >= 0] at 16 kHz, mono.

    Raises BadAudio as that does: at once where nothing can be read, in the middle at samples that
    are no numbers, and at the end for a recording that turns out too short or silent.
    """
    samples, peak = 0, 0.0
    for block in _resampled(native_blocks(source)):
        block = np.clip(block, -1.0, 1.0, dtype=np.float32)
        samples += len(block)
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
        yield block
    check_heard(samples, peak)


def _resampled(blocks: Iterable[tuple[np.ndarray, int]]) -> Iterator[np.ndarray]:
    """At 16 kHz. Between blocks the resampler keeps what it needs, and gives the rest at last."""
    stream = None
    for block, rate in blocks:
        if rate == SAMPLE_RATE:
            yield block
        else:
            stream = stream or soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32")
            yield stream.resample_chunk(block)
    if stream:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def stated_seconds(source: Path | bytes | None) -> float:
    """How long a recording is by its header; 0 where that cannot be read or says nonsense.

    A damaged file may turn out shorter.
    """
    try:
        if source is None:
            return 0.0
        with open_sound(source) as f:
            seconds = f.frames / f.samplerate
    except (BadAudio, *UNREADABLE):
        return 0.0
    return seconds if 0.0 <= seconds <= _LONGEST_STATED else 0.0
