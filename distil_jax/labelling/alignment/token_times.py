"""Attention weights -> when each token ends.

n heads, t tokens, s encoder positions (0.02 s each), f of them that hold sound.
"""

import numpy as np

from distil_jax.data.audio import SAMPLE_RATE
from distil_jax.labelling.alignment.warping import first_frames

FRAME_SECONDS = 0.02
_MEDIAN_WIDTH = 7  # frames
_SAMPLES_OF_MEL_FRAME, _MEL_FRAMES = SAMPLE_RATE // 100, 2  # of an encoder position


def frames(samples: int) -> int:
    """Encoder positions that hold sound, of a clip of so many samples; at least 1."""
    mel_frames = -(-samples // _SAMPLES_OF_MEL_FRAME)
    return max(1, mel_frames // _MEL_FRAMES)


def evidence(weights: np.ndarray) -> np.ndarray:
    """What heads say of where each token is, comparable from head to head.

    Standardised over the tokens, so that a frame at which every token looks says nothing, and
    smoothed over the frames by a median (OpenAI, whisper/timing.py). [n, t, f] -> [n, t, f].
    """
    mean, deviation = (f(axis=1, keepdims=True) for f in (weights.mean, weights.std))
    # One token alone deviates from nothing.
    standard = (weights - mean) / np.where(deviation == 0, 1, deviation)
    if weights.shape[2] <= _MEDIAN_WIDTH // 2:
        return standard
    beside = _MEDIAN_WIDTH // 2
    padded = np.pad(standard, ((0, 0), (0, 0), (beside, beside)), mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, _MEDIAN_WIDTH, axis=2)
    return np.partition(around, beside, axis=3)[..., beside]


def token_ends(evidence: np.ndarray) -> np.ndarray:
    """By each of n opinions, when each token ends: [n, t, f] -> seconds [n, t + 1] float32.

    Row i is what the model looked at when it had read token i and was to write the next; so it
    comes to row i when token i is over. The last token, which was not read, has the time of the one
    before. (transformers, `_extract_token_timestamps` of models/whisper/generation_whisper.py.)
    """
    ends = first_frames(-evidence) * FRAME_SECONDS
    return np.concatenate([ends, ends[:, -1:]], axis=1).astype(np.float32)


def ends_by_heads(weights: np.ndarray, samples: int) -> np.ndarray:
    """When each token ends, by all heads together: [n, t, s] -> seconds [t + 1] float32.

    samples: of the clip.
    """
    if weights.shape[1] == 0:  # of a lone token there is nothing to read
        return np.zeros(1, np.float32)
    opinion = evidence(weights[:, :, : frames(samples)]).mean(axis=0, keepdims=True)
    return token_ends(opinion)[0]
