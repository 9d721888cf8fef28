"""Clips in which nobody speaks: silence, noises, hum and music, made up from a seed.

n samples at 16 kHz, t seconds.
"""

from collections.abc import Callable
from typing import get_args

import numpy as np

from distil_jax.data.audio import SAMPLE_RATE
from distil_jax.data.speech import Clip
from distil_jax.evaluation.music import music
from distil_jax.evaluation.noise import generator
from distil_jax.evaluation.settings import ProbeKind

Draw = Callable[[int, np.random.Generator], np.ndarray]  # n -> float64 [n], as loud as it comes

_PEAK_DB = (-30.0, -3.0)  # of full scale, drawn for each clip
_HISS_DB = (-80.0, -60.0)  # the same, of silence
_LOWEST_HZ = 20.0


def probe(id: str, kind: ProbeKind, number: int, seconds: float, seed: int) -> Clip:
    """Clip `number` of a kind: the same samples for the same arguments. id: what it is called."""
    rng = generator(seed, kind, number)
    count = round(seconds * SAMPLE_RATE)
    sound = _DRAWS[kind](count, rng)
    peak = np.abs(sound).max()
    loud = 10.0 ** (rng.uniform(*(_HISS_DB if kind == "silence" else _PEAK_DB)) / 20.0)
    # The first silence is a digital one; the others have the hiss of a quiet room.
    scale = 0.0 if kind == "silence" and number == 0 else loud / peak
    return Clip(
        id=id,
        corpus="no_speech",
        utterance=id,
        start=0.0,
        samples=(scale * sound).astype(np.float32),
        text=None,
        language=None,
        speaker=None,
    )


def _white(count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(count)


def _pink(count: int, rng: np.random.Generator) -> np.ndarray:
    return _sloping(count, rng, 0.5)


def _brown(count: int, rng: np.random.Generator) -> np.ndarray:
    return _sloping(count, rng, 1.0)


def _sloping(count: int, rng: np.random.Generator, exponent: float) -> np.ndarray:
    """White noise whose amplitude falls as frequency ** -exponent; nothing under 20 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    audible = hertz >= _LOWEST_HZ
    spectrum[~audible] = 0.0
    spectrum[audible] *= hertz[audible] ** -exponent
    return np.fft.irfft(spectrum, count)


def _hum(count: int, rng: np.random.Generator) -> np.ndarray:
    """The mains at 50 or 60 Hz with a dozen harmonics, and a little hiss."""
    time = np.arange(count) / SAMPLE_RATE
    mains = rng.choice([50.0, 60.0])
    weights = rng.uniform(0.2, 1.0, 12) / np.arange(1, 13)
    phases = rng.uniform(0, 2 * np.pi, 12)
    waves = [
        weight * np.sin(2 * np.pi * mains * order * time + phase)
        for order, (weight, phase) in enumerate(zip(weights, phases, strict=True), 1)
    ]
    return np.sum(waves, axis=0) + 0.01 * rng.standard_normal(count)


_DRAWS: dict[ProbeKind, Draw] = {
    "silence": _white,
    "white": _white,
    "pink": _pink,
    "brown": _brown,
    "hum": _hum,
    "music": music,
}
assert set(_DRAWS) == set(get_args(ProbeKind))
