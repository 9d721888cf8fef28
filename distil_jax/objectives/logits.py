"""Objectives on logits: cross-entropy on labels and divergences to the teacher."""

from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from distil_jax.objectives.base import TokenObjective


class CrossEntropy(TokenObjective):
    """-log P(label): the student learns to say what the teacher said (Distil-Whisper, L_PL)."""

    name: Literal["cross_entropy"] = "cross_entropy"

    def per_token(self, student: jax.Array, teacher: jax.Array, labels: jax.Array) -> jax.Array:
        chosen = jnp.take_along_axis(student, labels[..., None], axis=-1)[..., 0]
        return jax.nn.logsumexp(student, axis=-1) - chosen


class KLDivergence(TokenObjective):
    """T^2 KL(teacher || student), both softened by T (Hinton et al. 2015; Distil-Whisper, L_KL)."""

    name: Literal["kl"] = "kl"
    temperature: float = Field(default=2.0, gt=0)

    def per_token(self, student: jax.Array, teacher: jax.Array, labels: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(student / self.temperature, axis=-1)
        log_q = jax.nn.log_softmax(teacher / self.temperature, axis=-1)
        return self.temperature**2 * jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=-1)
