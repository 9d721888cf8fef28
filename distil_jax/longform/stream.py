"""The 30 s of a recording from any frame of its log-mel spectrogram on; an hour is never held."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from distil_jax.data.audio_stream import audio_blocks
from distil_jax.models.log_mel import CLIP_SAMPLES, FRAMES, HOP, MARGIN

_LENGTH = CLIP_SAMPLES + 2 * MARGIN


class Sound(NamedTuple):
    """A row of log_mel.Excerpt: samples [480400] float32, of which `frames` frames are made."""

    samples: np.ndarray
    frames: int


class Stream:
    """The samples of a recording, read as far as they are asked for."""

    def __init__(self, blocks: Iterable[np.ndarray]):
        self._blocks = iter(blocks)
        self._held = np.zeros(0, np.float32)
        self._begin = 0  # of what is held, in samples

    @property
    def end(self) -> int:
        """How many samples were read: all, once `cut` gave less than 30 s."""
        return self._begin + len(self._held)

    def cut(self, frame: int) -> Sound:
        """From `frame` on, which is never before that of the last call; at the end with 0 frames.

        What lies beyond the ends of the recording is its mirror image, as far as frames reach, and
        zeros after that.
        """
        begin = frame * HOP - MARGIN
        self._hold(max(begin, 0), begin + _LENGTH)
        frames = max(0, min(FRAMES, self.end // HOP - frame))
        samples = np.zeros(_LENGTH, np.float32)
        if frames:
            mirrored = max(0, -begin), min(MARGIN, max(0, begin + _LENGTH - self.end))
            piece = self._held[: _LENGTH - mirrored[0]]
            piece = np.pad(piece, mirrored, mode="reflect")[:_LENGTH]
            samples[: len(piece)] = piece
        return Sound(samples, frames)

    def _hold(self, begin: int, end: int) -> None:
        """The samples from `begin` to `end` or to the last, and few more."""
        read, count = [self._held], self.end
        while count < end and (block := next(self._blocks, None)) is not None:
            read.append(block)
            count += len(block)
        whole = np.concatenate(read)
        drop = min(begin - self._begin, len(whole))
        self._held, self._begin = whole[drop:].copy(), self._begin + drop


class Extent(NamedTuple):
    """What only a whole recording tells: its samples, and the maximum of its mel bands."""

    samples: int
    loudest: float

    @property
    def frames(self) -> int:
        """Of its log-mel spectrogram."""
        return self.samples // HOP


def survey(audio: Path | bytes, loudest: Callable[[Sound], float]) -> Extent:
    """Read all of it once. Raises BadAudio where the recording is of no use."""
    stream, frame, level = Stream(audio_blocks(audio)), 0, -np.inf
    while (sound := stream.cut(frame)).frames:
        level = max(level, loudest(sound))
        frame += sound.frames
    return Extent(stream.end, level)
