"""Speech in noise: white, or a babble of other voices, at a given signal-to-noise ratio.

The protocol of Distil-Whisper (Gandhi et al. 2023, section 5.5): the level of the noise follows
from the power of the utterance itself.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from distil_jax.data.speech import Clip
from distil_jax.evaluation.settings import NoiseKind


@dataclass(frozen=True, eq=False)
class Noise:
    """One kind of noise at one level, for every clip of a set.

    voices: gives the clips that a babble is mixed of, none of them silent; talkers: how many of
    them speak at once.
    """

    kind: NoiseKind
    snr_db: float
    seed: int
    voices: Callable[[], Sequence[Clip]] = tuple
    talkers: int = 0

    def __call__(self, clip: Clip) -> Clip:
        """The clip in noise: a pure function of the clip and what stands above.

        The same noise at every level, only louder, so that levels compare.
        """
        rng = generator(self.seed, self.kind, clip.id)
        if self.kind == "white":
            noise = rng.standard_normal(len(clip.samples))
        else:
            others = [each.samples for each in self.voices() if each.utterance != clip.utterance]
            noise = babble(len(clip.samples), others, self.talkers, rng)
        return replace(clip, samples=add_noise(clip.samples, noise, self.snr_db))


def add_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """samples + noise, scaled so that 10 log10(power of samples / power of noise) is `snr_db`.

    Both [n]; powers are means of squares over all n samples, pauses too. Summed in float64, neither
    cut off at full scale nor made softer; returns float32 [n].
    """
    clean, noise = samples.astype(np.float64), noise.astype(np.float64)
    wanted = np.mean(np.square(clean)) / 10.0 ** (snr_db / 10.0)
    return (clean + noise * np.sqrt(wanted / np.mean(np.square(noise)))).astype(np.float32)


def babble(
    samples: int, voices: Sequence[np.ndarray], talkers: int, rng: np.random.Generator
) -> np.ndarray:
    """Several voices at once, equally loud, each from somewhere in its clip, over and over.

    voices: clips of any lengths, none of them silent; where they are fewer than `talkers`, some
    speak at several places at once. Returns float64 [samples].
    Raises ValueError when there are no voices.
    """
    if not voices:
        raise ValueError("a babble needs at least one voice, got none")
    mixed = np.zeros(samples)
    while not mixed.any():  # all of them may happen to pause
        chosen = rng.choice(len(voices), talkers, replace=len(voices) < talkers)
        mixed = np.sum([_stretch(voices[number], samples, rng) for number in chosen], axis=0)
    return mixed


def _stretch(voice: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    voice = voice.astype(np.float64)
    start = rng.integers(len(voice))
    return np.resize(np.roll(voice, -start), samples) / np.sqrt(np.mean(np.square(voice)))


def generator(*names: object) -> np.random.Generator:
    """Random numbers that depend on these names alone."""
    digest = hashlib.sha256("\0".join(map(str, names)).encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng(int.from_bytes(digest))
