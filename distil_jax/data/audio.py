"""Any recording -> mono samples at 16 kHz."""

import io
import sys
from pathlib import Path

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
    has samples that are no numbers.
    """
    mono = _decode(source, 0, None)
    if len(mono) == 0:
        raise BadAudio("empty: no samples")
    if len(mono) < SHORTEST_SECONDS * SAMPLE_RATE:
        raise BadAudio(f"too short: {len(mono) / SAMPLE_RATE:.3f} s, needs {SHORTEST_SECONDS} s")
    if np.abs(mono).max() < _SILENCE:
        raise BadAudio("silent")
    return mono


def read_part(source: Path | bytes, start: float) -> np.ndarray:
    """At most 30 s of what `read_audio` gives, from `start` (s) on; only that part is decoded.

    Raises BadAudio when the file cannot be read; a part may be silent.
    """
    begin = max(0, int(start) - _MARGIN)  # whole seconds, so that resampling keeps its phase
    mono = _decode(source, begin, start - begin + MAX_SECONDS + _MARGIN)
    first = round((start - begin) * SAMPLE_RATE)
    return mono[first : first + MAX_SAMPLES]


def _decode(source: Path | bytes, begin: int, seconds: float | None) -> np.ndarray:
    """float32 [samples] at 16 kHz, from `begin` (s) on, for `seconds` or to the end."""
    mono, rate = _native(source, begin, seconds)
    if not np.isfinite(mono).all():
        raise BadAudio("has samples that are not numbers (NaN or infinite)")
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    return np.clip(mono, -1.0, 1.0, dtype=np.float32)


def _native(source: Path | bytes, begin: int, seconds: float | None) -> tuple[np.ndarray, int]:
    """(mono float32 at the file's own rate, that rate), block by block to keep what is sound."""
    blocks: list[np.ndarray] = []
    try:
        _check_there(source)
        with _ReadForward(io.BytesIO(source) if isinstance(source, bytes) else source) as f:
            rate = f.samplerate
            if not _RATES[0] <= rate <= _RATES[1]:
                raise BadAudio(f"its sample rate is {rate} Hz, expected {_RATES[0]} to {_RATES[1]}")
            if begin:
                f.seek(min(begin * rate, f.frames))
            left = sys.maxsize if seconds is None else round(seconds * rate)
            while left > 0 and len(block := f.read(min(_BLOCK, left), "float32", always_2d=True)):
                blocks.append(block.mean(axis=1))
                left -= len(block)
    except (soundfile.SoundFileError, OSError, RuntimeError, ValueError, TypeError) as error:
        if not blocks:
            raise BadAudio(f"not readable as audio: {_said(error)}") from None
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32), rate


def _check_there(source: Path | bytes) -> None:
    if isinstance(source, Path) and not source.is_file():
        raise BadAudio("not a file" if source.exists() else "missing: no such file")
    if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
        raise BadAudio("empty: no bytes")


def _said(error: Exception) -> str:
    """The error without the names of files and addresses of objects: the same in every run."""
    if isinstance(error, soundfile.LibsndfileError):
        return error.error_string
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
