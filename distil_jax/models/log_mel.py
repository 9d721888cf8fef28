"""Whisper's log-mel spectrogram from raw samples, on the device, in float32.

Equal to transformers' WhisperFeatureExtractor to 1e-4 (tests/parity/test_log_mel.py).
"""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from distil_jax.mesh import platform

SAMPLE_RATE = 16_000
CLIP_SAMPLES = 30 * SAMPLE_RATE
_WINDOW = 400
_HOP = 160
_BINS = _WINDOW // 2 + 1
FRAMES = CLIP_SAMPLES // _HOP


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
    padded = jnp.pad(samples, ((0, 0), (_WINDOW // 2, _WINDOW // 2)), mode="reflect")
    power = _power_spectrum(padded)
    mel = jnp.matmul(power, mel_filters(n_mels), precision=jax.lax.Precision.HIGHEST)
    decades = jnp.log10(jnp.maximum(mel, 1e-10))
    floor = decades.max(axis=(1, 2), keepdims=True) - 8.0
    return (jnp.maximum(decades, floor) + 4.0) / 4.0


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
    hops = padded[:, : (FRAMES + 2) * _HOP].reshape(padded.shape[0], -1, _HOP)
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
