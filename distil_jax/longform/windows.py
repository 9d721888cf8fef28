"""A stream of samples -> windows that overlap, for the chunked algorithm.

Chunks of C seconds that share C/6 on each side (Patry, "Making automatic speech recognition work on
large files"; Distil-Whisper, arXiv 2311.00430, section 5): window i begins at i (C - 2 C/6).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from distil_jax.data.audio import MAX_SECONDS, SAMPLE_RATE
from distil_jax.data.speech import Clip
from distil_jax.errors import ConfigError
from distil_jax.longform.transcript import Recording

SHORTEST_CHUNK = 1.0  # s


class Piece(NamedTuple):
    """samples [at most a chunk] from `start` (a sample) on.

    left, right: how many of them lie in the strides, where the neighbours hear them in context; 0
    at the beginning and the end of the recording.
    """

    start: int
    samples: np.ndarray
    left: int
    right: int


@dataclass(frozen=True)
class Window(Clip):
    """A clip that is a piece of a recording. left, right: samples, as in Piece."""

    recording: Recording
    left: int
    right: int

    @classmethod
    def of(cls, recording: Recording, piece: Piece, number: int, language: str | None) -> Self:
        return cls(
            id=f"{recording.id}#{number}",
            corpus=recording.corpus,
            utterance=recording.id,
            start=piece.start / SAMPLE_RATE,
            samples=piece.samples,
            text=None,
            language=language,
            speaker=None,
            recording=recording,
            left=piece.left,
            right=piece.right,
        )

    @property
    def is_first(self) -> bool:
        return self.left == 0

    @property
    def is_last(self) -> bool:
        return self.right == 0

    @property
    def end(self) -> float:
        """Seconds into the recording."""
        return self.start + self.duration


def chunk_and_stride(seconds: float) -> tuple[int, int]:
    """(samples of a chunk, samples of its stride on each side), rounded as transformers does.

    Raises ConfigError for chunks that no window of Whisper holds.
    """
    if not SHORTEST_CHUNK <= seconds <= MAX_SECONDS:
        raise ConfigError(
            f"chunks of {seconds:g} s: expected {SHORTEST_CHUNK:g} to {MAX_SECONDS:g} seconds, "
            f"which is what Whisper hears at once"
        )
    return round(seconds * SAMPLE_RATE), round(seconds / 6 * SAMPLE_RATE)


def cut(blocks: Iterable[np.ndarray], chunk: int, stride: int) -> Iterator[Piece]:
    """Overlapping pieces of a stream of samples, of which little more than one is held.

    All are `chunk` samples long but the last, which is longer than two strides unless it is the
    only one.
    """
    held: list[np.ndarray] = []
    count = start = 0
    step = chunk - 2 * stride
    for block in blocks:
        held.append(block)
        count += len(block)
        while count > chunk:  # so that this piece is not the last
            whole = np.concatenate(held)
            yield Piece(start, whole[:chunk], stride if start else 0, stride)
            held, count, start = [whole[step:]], count - step, start + step
    if count:
        yield Piece(start, np.concatenate(held), stride if start else 0, 0)
