"""What a student costs in floating-point operations, by who pays for the teacher.

Busbridge et al. 2025 (arXiv:2502.08606), Eq 9:
3 F(N_S) D_S + F(N_T) (logits D_S + 3 pretraining D_T), with F(N) those of a token's forward pass.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from distil_jax.errors import UserError

Flops = Callable[[Any], Any]  # of sizes: numbers or arrays


@dataclass(frozen=True)
class Scenario:
    """Shares of the teacher's work that this student pays: 0 for none of it, 1 for all.

    logits: its forward pass over the student's tokens; pretraining: how it came to be. Of K
    students of one teacher that use its cached logits, each pays 1 / K of both.
    """

    name: str
    logits: float
    pretraining: float

    def __post_init__(self) -> None:
        for what, share in (("logits", self.logits), ("pretraining", self.pretraining)):
            if not 0 <= share <= 1:
                raise UserError(f"scenario {self.name!r}: got {what} {share}, expected 0 to 1")

    @property
    def is_free(self) -> bool:
        """Whether the teacher costs nothing."""
        return self.logits == 0 and self.pretraining == 0

    def teacher(self, flops: Flops, size: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """The fixed part of the bill."""
        return 3 * self.pretraining * flops(size) * tokens

    def per_token(self, flops: Flops, student: float, teacher: np.ndarray) -> np.ndarray:
        """What a token of the student's costs."""
        return 3 * flops(np.asarray(student, float)) + self.logits * flops(teacher)

    def tokens(
        self, flops: Flops, compute: float, student: float, teacher: np.ndarray, learnt: np.ndarray
    ) -> np.ndarray:
        """The student's tokens that a budget is left for; negative where the teacher takes it all.

        learnt: the teacher's tokens.
        """
        left = compute - self.teacher(flops, teacher, learnt)
        return left / self.per_token(flops, student, teacher)


def shared_by(students: float, name: str = "") -> Scenario:
    """One teacher and its cached logits for so many students."""
    share = 1 / students
    return Scenario(name or f"shared by {students:g}", logits=share, pretraining=share)


BEST_CASE = Scenario("best case", logits=0, pretraining=0)
INFERENCE = Scenario("inference", logits=1, pretraining=0)
PRETRAINING = Scenario("pretraining", logits=0, pretraining=1)
BOTH = Scenario("pretraining + inference", logits=1, pretraining=1)
SCENARIOS = (BEST_CASE, INFERENCE, PRETRAINING, BOTH)
