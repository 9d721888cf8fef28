"""Objectives on logits: cross-entropy on labels and divergences to the teacher."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from distil_jax.objectives.base import TokenObjective
from distil_jax.objectives.stored import TopK, buckets


class CrossEntropy(TokenObjective):
    """-log P(label): the student learns to say what the teacher said (Distil-Whisper, L_PL)."""

    name: Literal["cross_entropy"] = "cross_entropy"

    def per_token(self, student: jax.Array, teacher: Any, labels: jax.Array) -> jax.Array:
        chosen = jnp.take_along_axis(student, labels[..., None], axis=-1)[..., 0]
        return jax.nn.logsumexp(student, axis=-1) - chosen


class ZLoss(TokenObjective):
    """(log of the sum of exp of logits)^2, which keeps them from drifting (arXiv:2204.02311, 5)."""

    name: Literal["z_loss"] = "z_loss"
    weight: float = 1e-4

    def per_token(self, student: jax.Array, teacher: Any, labels: jax.Array) -> jax.Array:
        return jnp.square(jax.nn.logsumexp(student, axis=-1))


class KLDivergence(TokenObjective):
    """T^2 KL(teacher || student), both softened by T (Hinton et al. 2015; Distil-Whisper, L_KL).

    Of a teacher's TopK it is the divergence between the k tokens and all others as one: exact where
    the student tells the others apart as the teacher does, less than the whole elsewhere.
    """

    name: Literal["kl"] = "kl"
    temperature: float = Field(default=2.0, gt=0)

    def per_token(self, student: jax.Array, teacher: Any, labels: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(student / self.temperature, axis=-1)
        if isinstance(teacher, TopK):
            self._check(teacher)
            log_p = buckets(log_p, teacher.tokens)
            # Anew: rounded to float16 they add up to a little more or less than 1.
            log_q = jax.nn.log_softmax(teacher.log_probs.astype(jnp.float32), axis=-1)
        else:
            log_q = jax.nn.log_softmax(teacher / self.temperature, axis=-1)
        # As a product of vectors, which on a CPU takes a sixth of the time of a sum that has a
        # product fused into it. Accelerators' compilers make the same code of both.
        divergence = jnp.einsum(
            "...v,...v->...", jnp.exp(log_q), log_q - log_p, precision=jax.lax.Precision.HIGHEST
        )
        return self.temperature**2 * divergence

    def _check(self, teacher: TopK) -> None:
        if teacher.temperature != self.temperature:
            raise ValueError(
                f"kl at temperature {self.temperature} cannot be computed from a TopK at "
                f"temperature {teacher.temperature}: the sum of the other tokens has only that one"
            )
