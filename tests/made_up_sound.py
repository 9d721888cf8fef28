"""Made-up recordings, as samples and as encoded files."""

import io

import numpy as np
import soundfile

from distil_jax.data.audio import SAMPLE_RATE


def tone(seconds: float, rate: int = SAMPLE_RATE, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def noise(seconds: float, rate: int = SAMPLE_RATE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate))


def encoded(samples: np.ndarray, rate: int = SAMPLE_RATE, form="WAV", subtype=None) -> bytes:
    """In blocks: libsndfile's Vorbis encoder overflows the stack on a minute written at once."""
    file, channels = io.BytesIO(), 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(file, "w", rate, channels, subtype, format=form) as out:
        for first in range(0, len(samples), rate):
            out.write(samples[first : first + rate])
    return file.getvalue()
