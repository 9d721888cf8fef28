"""Any recording -> mono samples at 16 kHz."""

import io
from pathlib import Path

import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 16_000
MAX_SECONDS = 30.0
MAX_SAMPLES = int(MAX_SECONDS * SAMPLE_RATE)

_SHORTEST_SECONDS = 0.1
_SILENCE = 1e-4  # of full scale, -80 dB: below the noise of any microphone


class BadAudio(Exception):
    """A recording that cannot be used; `reason` says why in a few words."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def read_audio(source: Path | bytes) -> np.ndarray:
    """wav, flac, ogg/opus or mp3, any rate, any channels -> float32 [samples] at 16 kHz, mono.

    A file cut short gives what can still be decoded of it. Raises BadAudio when it is missing, no
    audio, empty, silent, shorter than 0.1 s, or has samples that are no numbers.
    """
    samples, rate = _decode(source)
    if len(samples) == 0:
        raise BadAudio("empty: no samples")
    if not np.isfinite(samples).all():
        raise BadAudio("has samples that are not numbers (NaN or infinite)")
    mono = samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    if len(mono) < _SHORTEST_SECONDS * SAMPLE_RATE:
        raise BadAudio(f"too short: {len(mono) / SAMPLE_RATE:.3f} s, needs {_SHORTEST_SECONDS} s")
    if np.abs(mono).max() < _SILENCE:
        raise BadAudio("silent")
    return np.clip(mono, -1.0, 1.0, dtype=np.float32)


def _decode(source: Path | bytes) -> tuple[np.ndarray, int]:
    """[samples, channels] float32 and the rate; block by block, to keep what comes before damage."""
    if isinstance(source, Path) and not source.is_file():
        raise BadAudio("missing: no such file" if not source.exists() else "not a file")
    if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
        raise BadAudio("empty: no bytes")
    blocks = []
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source) as f:
            rate, channels = f.samplerate, f.channels
            while True:
                block = f.read(1 << 16, dtype="float32", always_2d=True)
                if not len(block):
                    break
                blocks.append(block)
    except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError, TypeError) as error:
        if not blocks:
            raise BadAudio(f"not readable as audio: {error}") from None
    return np.concatenate(blocks) if blocks else np.zeros((0, channels), np.float32), rate
