"""Any recording -> mono samples at 16 kHz."""

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 16_000
MAX_SECONDS = 30.0
MAX_SAMPLES = int(MAX_SECONDS * SAMPLE_RATE)
SHORTEST_SECONDS = 0.1

_SILENCE = 1e-4  # of full scale, -80 dB: below the noise of any microphone
_RATES = (2_000, 768_000)  # Hz; others come from damaged headers, and would fill the memory
_BLOCK = 4096  # frames decoded at a time: so much at most is lost before a damaged place
# What soundfile raises of a file that it cannot read.
UNREADABLE = (soundfile.SoundFileError, OSError, RuntimeError, ValueError, TypeError)
_MARGIN = 1  # seconds read around a part: what codecs and the resampler need to settle


class BadAudio(Exception):
    """A recording that cannot be used; `reason` says why in a few words."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class _ReadForward(soundfile.SoundFile):
    """soundfile seeks to where it is after every block, from which MP3 loses what came before."""

    def seekable(self) -> bool:
        return False


def read_audio(source: Path | bytes) -> np.ndarray:
    """wav, flac, ogg/opus or mp3, any rate, any channels -> float32 [samples] at 16 kHz, mono.

    A file cut short gives what can still be decoded of it (nothing of Ogg, whose length stands at
    its end). Raises BadAudio when it is missing, no audio, empty, silent, shorter than 0.1 s, or
    has samples that are no numbers. Of hours of sound see `audio_stream.audio_blocks`.
    """
    mono = _decode(source, 0, None)
    check_heard(len(mono), float(np.abs(mono).max(initial=0.0)))
    return mono


def read_part(source: Path | bytes, start: float) -> np.ndarray:
    """At most 30 s of what `read_audio` gives, from `start` (s) on; only that part is decoded.

    Raises BadAudio when the file cannot be read; a part may be silent.
    """
    begin = max(0, int(start) - _MARGIN)  # whole seconds, so that resampling keeps its phase
    mono = _decode(source, begin, start - begin + MAX_SECONDS + _MARGIN)
    first = round((start - begin) * SAMPLE_RATE)
    return mono[first : first + MAX_SAMPLES]


def check_heard(samples: int, peak: float) -> None:
    """Raises BadAudio for a recording of so few samples at 16 kHz, or so quiet, that it is none.

    peak: the largest of their absolute values.
    """
    if samples == 0:
        raise BadAudio("empty: no samples")
    if samples < SHORTEST_SECONDS * SAMPLE_RATE:
        raise BadAudio(f"too short: {samples / SAMPLE_RATE:.3f} s, needs {SHORTEST_SECONDS} s")
    if peak < _SILENCE:
        raise BadAudio("silent")


def native_blocks(
    source: Path | bytes, begin: int = 0, seconds: float | None = None
) -> Iterator[tuple[np.ndarray, int]]:
    """(mono float32 [at most 4096] at the file's own rate, that rate), from `begin` (s) on.

    For `seconds` or to the end; what is damaged ends it. Raises BadAudio when nothing can be read,
    or where samples are no numbers.
    """
    begun = False
    try:
        with open_sound(source) as f:
            if begin:
                f.seek(min(begin * f.samplerate, f.frames))
            left = sys.maxsize if seconds is None else round(seconds * f.samplerate)
            while left > 0 and len(block := f.read(min(_BLOCK, left), "float32", always_2d=True)):
                begun = True
                left -= len(block)
                yield _numbers(block.mean(axis=1)), f.samplerate
    except UNREADABLE as error:
        if not begun:
            raise BadAudio(f"not readable as audio: {_said(error)}") from None


def open_sound(source: Path | bytes) -> soundfile.SoundFile:
    """The file, its header read. Raises BadAudio, or one of UNREADABLE."""
    if isinstance(source, Path) and not source.is_file():
        raise BadAudio("not a file" if source.exists() else "missing: no such file")
    if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
        raise BadAudio("empty: no bytes")
    # As bytes: the name of a file need not be UTF-8. (soundfile takes them, its types do not.)
    file: Any = io.BytesIO(source) if isinstance(source, bytes) else os.fsencode(source)
    f = _ReadForward(file)
    if not _RATES[0] <= f.samplerate <= _RATES[1]:
        raise BadAudio(f"its sample rate is {f.samplerate} Hz, expected {_RATES[0]} to {_RATES[1]}")
    return f


def _decode(source: Path | bytes, begin: int, seconds: float | None) -> np.ndarray:
    """float32 [samples] at 16 kHz, from `begin` (s) on, for `seconds` or to the end."""
    blocks, rate = [], SAMPLE_RATE
    for block, rate in native_blocks(source, begin, seconds):  # noqa: B007
        blocks.append(block)
    mono = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    return np.clip(mono, -1.0, 1.0, dtype=np.float32)


def _numbers(block: np.ndarray) -> np.ndarray:
    if not np.isfinite(block).all():
        raise BadAudio("has samples that are not numbers (NaN or infinite)")
    return block


def _said(error: Exception) -> str:
    """The error without the names of files and addresses of objects: the same in every run."""
    if isinstance(error, soundfile.LibsndfileError):
        return error.error_string
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
