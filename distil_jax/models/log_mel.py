"""Whisper's log-mel spectrogram from raw samples, on the device, in float32.

Equal to transformers' WhisperFeatureExtractor to 1e-4 (tests/parity/test_log_mel.py).
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

SAMPLE_RATE = 16_000
CLIP_SAMPLES = 30 * SAMPLE_RATE
_WINDOW = 400
_HOP = 160
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
    """[b, 480400] -> [b, 3000, 201]: the squared magnitudes of Hann-windowed frames.

    A window of 400 is two and a half hops of 160: frames are put together from shifted views of
    80-sample pieces, which avoids a gather.
    """
    piece = 80
    pieces = padded[:, : (2 * FRAMES + 3) * piece].reshape(padded.shape[0], -1, piece)
    frames = jnp.concatenate([pieces[:, i : i + 2 * FRAMES : 2] for i in range(5)], axis=-1)
    window = jnp.asarray(np.hanning(_WINDOW + 1)[:-1], jnp.float32)
    spectrum = jnp.fft.rfft(frames * window, axis=-1)
    return jnp.square(spectrum.real) + jnp.square(spectrum.imag)
