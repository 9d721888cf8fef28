"""Scores that decoding leaves beside each label."""

from typing import Literal

import numpy as np
import pyarrow as pa

from distil_jax.labelling.filters.base import Score, numbers


class Confidence(Score):
    """exp(mean log P(token)): the geometric mean of the tokens' probabilities (uDistil, conf)."""

    name: Literal["confidence"] = "confidence"
    good = "high"
    columns = ("mean_logprob",)

    def of(self, labels: pa.Table) -> np.ndarray:
        return np.exp(numbers(labels, "mean_logprob"))


class Entropy(Score):
    """The mean entropy of the tokens' distributions, in nats (uDistil, entropy)."""

    name: Literal["entropy"] = "entropy"
    good = "low"
    columns = ("mean_entropy",)

    def of(self, labels: pa.Table) -> np.ndarray:
        return numbers(labels, "mean_entropy")


class NoSpeech(Score):
    """The probability of the no-speech token at the start of decoding."""

    name: Literal["no_speech"] = "no_speech"
    good = "low"
    columns = ("no_speech_prob",)

    def of(self, labels: pa.Table) -> np.ndarray:
        return numbers(labels, "no_speech_prob")


class Compression(Score):
    """Bytes of the text by bytes of its zlib compression; loops make it high (OpenAI: 2.4)."""

    name: Literal["compression"] = "compression"
    good = "low"
    columns = ("compression_ratio",)

    def of(self, labels: pa.Table) -> np.ndarray:
        return numbers(labels, "compression_ratio")


class Ended(Score):
    """1 where the label came to its end; 0 where it was cut off at label.max_new_tokens."""

    name: Literal["ended"] = "ended"
    good = "high"
    columns = ("ended",)

    def of(self, labels: pa.Table) -> np.ndarray:
        return numbers(labels, "ended")
