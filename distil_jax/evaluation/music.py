"""A little band: chords, a melody over them, and drums. Nobody sings."""

import numpy as np

from distil_jax.data.audio import SAMPLE_RATE

_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)  # semitones of a scale
_PROGRESSIONS = ((0, 4, 5, 3), (0, 3, 4, 0), (5, 3, 0, 4), (0, 5, 1, 4))  # steps of it, a bar each
_BEATS = 4  # in a bar


def music(count: int, rng: np.random.Generator) -> np.ndarray:
    """A piece in a key, tempo and progression of its own. Returns float64 [count]."""
    beat = round(SAMPLE_RATE * 60 / rng.uniform(70, 150))
    scale = _MAJOR if rng.random() < 0.5 else _MINOR
    root = rng.uniform(110, 220)
    bars = -(-count // (beat * _BEATS))
    steps = [_PROGRESSIONS[rng.integers(4)][bar % 4] for bar in range(bars)]
    parts = (_chords(steps, scale, root, beat), _melody(steps, scale, root, beat, rng))
    piece = sum(rng.uniform(0.5, 1.0) * part for part in (*parts, _drums(bars, beat, rng)))
    return np.asarray(piece)[:count]


def _chords(steps: list[int], scale: tuple[int, ...], root: float, beat: int) -> np.ndarray:
    """A triad on each step, held for a bar."""
    bars = [
        sum(_tone(_hertz(step + third, scale, root), beat * _BEATS, 2.0) for third in (0, 2, 4))
        for step in steps
    ]
    return np.concatenate(bars) / 3


def _melody(
    steps: list[int], scale: tuple[int, ...], root: float, beat: int, rng: np.random.Generator
) -> np.ndarray:
    """A note a beat, two octaves up, wandering around the chord; some beats are left out."""
    notes, at = [], 0
    for step in np.repeat(steps, _BEATS):
        at = int(np.clip(at + rng.integers(-2, 3), -4, 7))
        note = _tone(_hertz(int(step) + at + 14, scale, root), beat, 0.4)
        notes.append(note * (rng.random() > 0.2))
    return np.concatenate(notes)


def _hertz(step: int, scale: tuple[int, ...], root: float) -> float:
    """Of a step of the scale above the root, octaves counted on."""
    octave, note = divmod(step, len(scale))
    return root * 2 ** (octave + scale[note] / 12)


def _tone(hertz: float, count: int, decay: float) -> np.ndarray:
    """A plucked string: five harmonics that die away in `decay` seconds."""
    time = np.arange(count) / SAMPLE_RATE
    waves = [
        np.sin(2 * np.pi * hertz * k * time) * np.exp(-k * time / decay) / k for k in range(1, 6)
    ]
    return np.sum(waves, axis=0) * np.minimum(1.0, time / 0.005)


def _drums(bars: int, beat: int, rng: np.random.Generator) -> np.ndarray:
    """Bass drum on the first and third beat, snare on the others, a hat on every half."""
    time = np.arange(beat) / SAMPLE_RATE
    hiss = rng.standard_normal(beat)
    bass = np.sin(2 * np.pi * (50 * time + 6 * (1 - np.exp(-time / 0.03)))) * np.exp(-time / 0.1)
    snare = 0.5 * hiss * np.exp(-time / 0.07)
    hat = 0.2 * np.diff(hiss, prepend=0.0) * np.exp(-time / 0.02)
    hats = hat + np.concatenate([np.zeros(beat // 2), hat[: beat - beat // 2]])
    return np.tile(np.concatenate([bass + hats, snare + hats] * (_BEATS // 2)), bars)
