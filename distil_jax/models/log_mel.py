"""Whisper's log-mel spectrogram from raw samples, on the device, in float32.

Equal to transformers' WhisperFeatureExtractor to 1e-4 (tests/parity/test_log_mel.py).
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from distil_jax.mesh import platform

SAMPLE_RATE = 16_000
CLIP_SAMPLES = 30 * SAMPLE_RATE
_WINDOW = 400
HOP = 160
_BINS = _WINDOW // 2 + 1
FRAMES = CLIP_SAMPLES // HOP
# So much of what is around a clip its first and last frames reach into.
MARGIN = _WINDOW // 2
Array = Any  # of numpy on the host, of jax on the devices


class Excerpt(NamedTuple):
    """30 s out of longer recordings, whose frames are those of the whole recordings' spectrograms.

    samples [b, 480400]: with 200 of what is around them on each side; loudest [b]: of the whole
    recording, as `loudest` has it; frames [b] int32: how many there are, 3000 but at the end.
    """

    samples: Array
    loudest: Array
    frames: Array


@lru_cache
def mel_filters(n_mels: int) -> np.ndarray:
    """Slaney mel filters. Returns [bins, n_mels] float32."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=_WINDOW // 2 + 1,
        num_mel_filters=n_mels,
        min_frequency=0.0,
        max_frequency=8000.0,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return filters.astype(np.float32)


def log_mel(samples: jax.Array, n_mels: int) -> jax.Array:
    """Clips of 16 kHz samples, padded with zeros to 30 s first. [b, 480000] -> [b, 3000, n_mels].

    The range is cut at 8 decades below the clip's own maximum, then scaled to about [-1, 1].
    """
    padded = jnp.pad(samples, ((0, 0), (MARGIN, MARGIN)), mode="reflect")
    decades = _decades(padded, n_mels)
    return _scaled(decades, decades.max(axis=(1, 2)))


def excerpt_log_mel(excerpt: Excerpt, n_mels: int) -> jax.Array:
    """-> [b, 3000, n_mels]: cut out of the whole recording's spectrogram, zeros after its end.

    Zeros, which are no silence, are what OpenAI's and transformers' long-form decoding put there.
    """
    scaled = _scaled(_decades(excerpt.samples, n_mels), excerpt.loudest)
    return jnp.where(_heard(excerpt.frames), scaled, 0.0)


def loudest(samples: jax.Array, frames: jax.Array, n_mels: int) -> jax.Array:
    """The maximum of an excerpt's `frames` before scaling. [b, 480400], [b] -> [b]."""
    decades = _decades(samples, n_mels)
    return jnp.where(_heard(frames), decades, -jnp.inf).max(axis=(1, 2))


def _heard(frames: jax.Array) -> jax.Array:
    """[b] -> [b, 3000, 1]"""
    return (jnp.arange(FRAMES) < frames[:, None])[..., None]


def _decades(padded: jax.Array, n_mels: int) -> jax.Array:
    """[b, 480400] -> [b, 3000, n_mels]: the power in each mel band, as a power of ten."""
    power = _power_spectrum(padded)
    mel = jnp.matmul(power, mel_filters(n_mels), precision=jax.lax.Precision.HIGHEST)
    return jnp.log10(jnp.maximum(mel, 1e-10))


def _scaled(decades: jax.Array, loudest: jax.Array) -> jax.Array:
    """[b, 3000, n_mels], [b] -> [b, 3000, n_mels]"""
    return (jnp.maximum(decades, loudest[:, None, None] - 8.0) + 4.0) / 4.0


def _power_spectrum(padded: jax.Array) -> jax.Array:
    """[b, 480400] -> [b, 3000, 201]: the squared magnitudes of Hann-windowed frames."""
    if platform() == "cpu":
        spectrum = _by_transform(padded)
        return jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    real, imaginary = _by_products(padded)
    return jnp.square(real) + jnp.square(imaginary)


def _by_transform(padded: jax.Array) -> jax.Array:
    """Frames put together, then transformed. [b, 480400] -> [b, 3000, 201] complex.

    A window of 400 is two and a half hops of 160: frames are made of shifted views of 80-sample
    pieces, which avoids a gather.
    """
    piece = 80
    pieces = padded[:, : (2 * FRAMES + 3) * piece].reshape(padded.shape[0], -1, piece)
    frames = jnp.concatenate([pieces[:, i : i + 2 * FRAMES : 2] for i in range(5)], axis=-1)
    return jnp.fft.rfft(frames * jnp.asarray(_hann(), jnp.float32), axis=-1)


def _by_products(padded: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[b, 480400] -> real and imaginary parts up to their sign, each [b, 3000, 201].

    What a matrix unit wants: it does the sums in no time, where a transform whose length is no
    power of two takes a TPU's compiler a minute. Cosines are even and sines odd: so a frame is
    folded in the middle first, which halves the sums and their rounding.
    """
    hops = padded[:, : (FRAMES + 2) * HOP].reshape(padded.shape[0], -1, HOP)
    frames = jnp.concatenate([hops[:, i : i + FRAMES] for i in range(3)], axis=-1)
    half = _WINDOW // 2
    head, tail = frames[..., 1:half], frames[..., _WINDOW - 1 : half : -1]
    even = jnp.concatenate([head + tail, frames[..., half : half + 1]], axis=-1)
    cosines, sines = _waves()
    product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    return product(even, cosines), product(head - tail, sines)


@lru_cache
def _waves() -> tuple[np.ndarray, np.ndarray]:
    """Windowed cosines [200, 201] and sines [199, 201] of samples 1 and after; 0 weighs nothing."""
    steps = np.arange(1, _WINDOW // 2 + 1)
    angles = 2 * np.pi / _WINDOW * np.outer(steps, np.arange(_BINS))
    window = _hann()[steps, None]
    waves = np.cos(angles) * window, np.sin(angles[:-1]) * window[:-1]
    return waves[0].astype(np.float32), waves[1].astype(np.float32)


def _hann() -> np.ndarray:
    return np.hanning(_WINDOW + 1)[:-1]
