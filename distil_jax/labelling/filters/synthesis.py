"""Labels said aloud by a synthesiser, and compared with the recording."""

import io
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import soundfile
import soxr
from pydantic import Field

from distil_jax.data.audio import MAX_SAMPLES, SAMPLE_RATE
from distil_jax.data.speech import Clip
from distil_jax.errors import UserError
from distil_jax.labelling.filters.base import MeasuredScore, Measurer, Models, numbers

_PROGRAM = "espeak-ng"
_MELS, _CEPSTRA = 80, 12
_HOP, _FRAMES_TOGETHER = 160, 4  # samples a frame of log_mel; so many become one


class Synthesis(MeasuredScore):
    """How far the recording is from the label as espeak-ng says it (uDistil's pesq, in spirit).

    The distance of cepstra (normalised to mean 0 and deviation 1 in each clip) along the best path
    of dynamic time warping. PESQ wants two recordings of the same voice and pace, which these are
    not. It cannot tell of labels that have no letters, of languages for which there is no voice,
    and of texts that take the program longer than `timeout`.
    """

    name: Literal["synthesis"] = "synthesis"
    # Of `espeak-ng --voices`; null: the label's language.
    voice: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*$")
    # Seconds that one label may take.
    timeout: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    good = "low"
    columns = ("synthesis_distance",)
    adds = (pa.field("synthesis_distance", pa.float64()),)

    def of(self, labels: pa.Table) -> np.ndarray:
        return numbers(labels, "synthesis_distance")

    def check(self) -> None:
        if shutil.which(_PROGRAM) is None:
            raise UserError(
                f"the score synthesis needs the program {_PROGRAM}, which is not on the PATH. "
                f"Install it (Debian, Ubuntu: apt-get install {_PROGRAM}; macOS: brew install "
                f"{_PROGRAM}), or take synthesis out of filter.scores and filter.filters"
            )

    def measurer(self, models: Models) -> Measurer:
        self.check()

        def measure(pairs: Iterable[tuple[dict, Clip]]) -> Iterator[dict[str, Any]]:
            for row, clip in pairs:
                voice = self.voice or row["language"]
                said = speak(row["label"], voice, self.timeout) if voice else None
                if said is not None:
                    far = distance(cepstra(said), cepstra(clip.samples))
                    yield {"id": clip.id, "synthesis_distance": far}

        return measure


def speak(text: str, voice: str, timeout: float) -> np.ndarray | None:
    """Text said by espeak-ng: float32 [n <= 480000] at 16 kHz; None where it says nothing.

    The text goes through standard input: nothing in it is an option, or seen by a shell.
    """
    command = [_PROGRAM, "-v", voice, "-b", "1", "--stdin", "--stdout"]
    spoken = text.encode("utf-8", "replace")
    try:
        done = subprocess.run(
            command, input=spoken, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode or not done.stdout:
        return None
    samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    said = soxr.resample(samples, rate, SAMPLE_RATE)[:MAX_SAMPLES]
    return said if len(said) >= _HOP * _FRAMES_TOGETHER and np.abs(said).max() > 0 else None


def cepstra(samples: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstra 1 to 12 of 25 frames a second, [frames, 12] float64.

    Each has mean 0 and deviation 1 over the clip, which takes much of voice and room away.
    """
    padded = np.zeros((1, MAX_SAMPLES), np.float32)
    padded[0, : len(samples)] = samples[:MAX_SAMPLES]
    frames = max(1, len(samples) // (_HOP * _FRAMES_TOGETHER)) * _FRAMES_TOGETHER
    mel = np.asarray(_log_mel()(padded), np.float64)[0, :frames]
    mel = mel.reshape(-1, _FRAMES_TOGETHER, _MELS).mean(1)
    angles = np.outer(np.arange(_MELS) + 0.5, np.arange(1, _CEPSTRA + 1)) * np.pi / _MELS
    found = mel @ np.cos(angles)
    return (found - found.mean(0)) / np.maximum(found.std(0), 1e-6)


@cache
def _log_mel():
    import jax

    from distil_jax.models.log_mel import log_mel

    return jax.jit(lambda samples: log_mel(samples, _MELS))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Dynamic time warping of [n, d] and [m, d] by Euclidean distances, per step.

    The symmetric form without slope constraint (Sakoe & Chiba 1978, P = 0): a diagonal step counts
    twice, and the sum is divided by n + m.
    """
    cost = np.sqrt(np.maximum(((a[:, None] - b[None]) ** 2).sum(-1), 0.0))
    sums = np.cumsum(cost, axis=1)
    reached = sums[0] + cost[0, 0]
    for here, along in zip(cost[1:], sums[1:], strict=True):
        # reached[j] = min(came[j], reached[j - 1] + here[j]), without a loop over j.
        diagonal = np.insert(reached[:-1], 0, np.inf) + 2 * here
        came = np.minimum(reached + here, diagonal)
        reached = along + np.minimum.accumulate(came - along)
    return float(reached[-1] / sum(cost.shape))
