"""What a model made of one clip, and how good it seems."""

import zlib
from dataclasses import dataclass

from distil_jax.labelling.settings import FallbackConfig


@dataclass(frozen=True)
class Label:
    """Text, tokens and scores of a clip; the scores as in models.generate.Decoded.

    temperature: that the tokens were drawn at, 0 where each is the likeliest.
    """

    text: str
    tokens: list[int]
    language: str | None
    ended: bool
    mean_logprob: float
    mean_entropy: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float

    def is_poor(self, limits: FallbackConfig) -> bool:
        """Whether it calls for another try."""
        repeats = self.compression_ratio > limits.max_compression_ratio
        return (self._is_guess(limits) or repeats) and not self.is_silence(limits)

    def is_silence(self, limits: FallbackConfig) -> bool:
        """Whether it is a guess at what nobody said."""
        return self._is_guess(limits) and self.no_speech_prob > limits.no_speech_prob

    def _is_guess(self, limits: FallbackConfig) -> bool:
        return self.mean_logprob < limits.min_mean_logprob


def compression_ratio(text: str) -> float:
    """Bytes of the text by bytes of its zlib compression: repetition makes it high (OpenAI)."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))
