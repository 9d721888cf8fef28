"""Clips without speech: what their names say, and the same from the same seed."""

from typing import get_args

import numpy as np
import pytest
from scipy.signal import welch

from distil_jax.evaluation.probes import probe
from distil_jax.evaluation.settings import ProbeKind

KINDS = get_args(ProbeKind)


def sound(kind: ProbeKind, number: int = 1, seconds: float = 4.0, seed: int = 0) -> np.ndarray:
    return probe(f"{kind}-{number}", kind, number, seconds, seed).samples


def decades_per_decade(samples: np.ndarray) -> float:
    """The slope of power over frequency, both logarithmic, from 50 Hz to 5 kHz."""
    hertz, power = welch(samples, 16_000, nperseg=4096)
    band = (hertz > 50) & (hertz < 5000)
    return np.polyfit(np.log10(hertz[band]), np.log10(power[band]), 1)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_is_whole_and_the_same_each_time(kind):
    clip = probe("some id", kind, 1, 4.0, 0)
    assert (clip.id, clip.utterance, clip.text, clip.language) == ("some id", "some id", None, None)
    assert clip.samples.dtype == np.float32
    assert clip.duration == 4.0
    assert np.isfinite(clip.samples).all()
    assert 0 < np.abs(clip.samples).max() < 1
    assert np.array_equal(sound(kind), clip.samples)
    assert not np.array_equal(sound(kind, number=2), clip.samples)
    assert not np.array_equal(sound(kind, seed=1), clip.samples)


@pytest.mark.parametrize("kind,slope", [("white", 0.0), ("pink", -1.0), ("brown", -2.0)])
def test_noises_have_their_colour(kind, slope):
    for number in range(3):
        assert decades_per_decade(sound(kind, number, 20.0)) == pytest.approx(slope, abs=0.06)


def test_silence_is_nothing_and_then_next_to_nothing():
    assert not sound("silence", 0).any()
    for number in range(1, 6):
        assert 1e-4 <= np.abs(sound("silence", number)).max() <= 1e-3


def test_hum_is_of_the_mains():
    found = set()
    for number in range(8):
        hertz, power = welch(sound("hum", number, 10.0), 16_000, nperseg=16_000)
        loudest = hertz[power.argmax()]
        mains = next(base for base in (50, 60) if loudest % base == 0)
        orders = power[mains : 13 * mains : mains].sum()
        assert orders > 0.6 * power.sum()
        found.add(mains)
    assert found == {50, 60}


def test_music_has_tones_beats_and_drums():
    music = sound("music", 0, 20.0).astype(np.float64)
    hertz, power = welch(music, 16_000, nperseg=8192)
    low = power[(hertz > 80) & (hertz < 1000)]
    assert low.max() > 30 * np.median(low)  # tones
    assert power[hertz > 6000].sum() > 0  # hats
    loudness = np.abs(music[: 20 * 16_000]).reshape(-1, 160).mean(axis=1)  # 10 ms each
    loudness -= loudness.mean()
    again = np.correlate(loudness, loudness, "full")[len(loudness) :]
    beat = 40 + again[40:180].argmax()  # lags of 0.4 to 1.8 s
    assert again[beat] > 0.2 * np.sum(loudness**2)


def test_any_length():
    for kind in KINDS:
        for seconds in (1.0, 2.3, 30.0):
            assert len(sound(kind, seconds=seconds)) == round(16_000 * seconds)
