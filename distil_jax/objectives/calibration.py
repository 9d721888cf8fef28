"""How far confidence is from how often it is right (Guo et al. 2017, arXiv:1706.04599)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from distil_jax.objectives.base import TokenObjective

BINS = 15  # of the top probability, as in the paper: (0, 1/15], ..., (14/15, 1]


class CalibrationGap(TokenObjective):
    """Of a token whose top probability is in this bin: 1 if that token is right, less the top
    probability. Of any other token: 0.

    To be measured, not learned: sums of it over tokens add up over batches and devices.
    """

    weight: float = 0.0
    bin: int

    def per_token(self, student: jax.Array, teacher: Any, labels: jax.Array) -> jax.Array:
        confidence = jnp.exp(student.max(axis=-1) - jax.nn.logsumexp(student, axis=-1))
        right = jnp.argmax(student, axis=-1) == labels
        bin = jnp.clip(jnp.ceil(confidence * BINS) - 1, 0, BINS - 1)
        return jnp.where(bin == self.bin, right - confidence, 0.0)


CALIBRATION_GAPS = tuple(CalibrationGap(name=f"calibration_gap_{n}", bin=n) for n in range(BINS))


def expected_calibration_error(means: Mapping[str, float]) -> float:
    """means: by name, over all tokens, of what CALIBRATION_GAPS are; others may be among them.

    A bin's share of the tokens times the distance of its accuracy from its confidence is the size
    of its mean over all tokens.
    """
    return sum(abs(means[gap.name]) for gap in CALIBRATION_GAPS)
