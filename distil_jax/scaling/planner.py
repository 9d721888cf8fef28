"""The best use of a budget by fitted laws: a student's tokens, its teacher's size and tokens.

Busbridge et al. 2025 (arXiv:2502.08606), section 5. The budget gives the student's tokens, so that
the teacher's size and tokens are left to choose: a grid of both, made finer around its best.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from distil_jax.scaling.bill import Flops, Scenario
from distil_jax.scaling.language_models import APPLE
from distil_jax.scaling.laws import DISTILLATION, GAMMA, Law
from distil_jax.scaling.laws.distillation import SUPERVISED_LOSS, TEACHER_LOSS

_LOWEST = 1e-3  # loss of a teacher, where a fit says of none that it cannot be
_POINTS, _ROUNDS, _NARROWER = 41, 14, 0.35
_ROUNDING = 1e-9  # what is at a limit may seem to be beyond it by so much


@dataclass(frozen=True)
class Limits:
    """What may be chosen: parameters, tokens, and tokens a parameter, of a teacher and of a model
    without one; a student's tokens; and the lowest loss of its teacher."""

    size: tuple[float, float] = (1e6, 1e17)
    tokens: tuple[float, float] = (1e6, 1e17)
    per_parameter: tuple[float, float] = (1e-6, 1e9)
    student_tokens: tuple[float, float] = (1e6, 1e17)
    teacher_loss: float = 0.0


@dataclass(frozen=True)
class Choice:
    """A student of `size` parameters and `tokens`, and its teacher; no teacher if supervised.

    compute: what it takes, which is less than the budget where no more tokens may be used.
    """

    scenario: str
    compute: float
    size: float
    tokens: float
    loss: float
    teacher_size: float | None = None
    teacher_tokens: float | None = None
    teacher_loss: float | None = None


@dataclass(frozen=True)
class Planner:
    """supervised, distillation: coefficients of the two laws. flops: of a token's forward pass."""

    supervised: Mapping[str, float]
    distillation: Mapping[str, float]
    supervised_law: Law = GAMMA
    flops: Flops = APPLE.forward_flops
    limits: Limits = Limits()

    def supervised_loss(self, size: np.ndarray | float, tokens: np.ndarray | float) -> np.ndarray:
        return self.supervised_law.predict(self.supervised, N=size, D=tokens)

    def student_loss(
        self,
        size: np.ndarray | float,
        tokens: np.ndarray | float,
        teacher_loss: np.ndarray | float,
    ) -> np.ndarray:
        """nan where there are no tokens."""
        tokens = np.asarray(tokens, float)
        some = np.where(tokens > 0, tokens, 1.0)
        columns = {
            "N": size,
            "D": some,
            TEACHER_LOSS: teacher_loss,
            SUPERVISED_LOSS: self.supervised_loss(size, some),
        }
        return np.where(tokens > 0, DISTILLATION.predict(self.distillation, **columns), np.nan)

    def without_teacher(self, compute: float, size: float | None = None) -> Choice:
        """Supervised training; of the best size where none is given."""

        (low, high), (least, most) = self.limits.tokens, self.limits.per_parameter

        def tokens(size: np.ndarray) -> np.ndarray:
            return np.minimum(compute / (3 * self.flops(size)), np.minimum(high, most * size))

        def loss(size: np.ndarray) -> np.ndarray:
            count, fewest = tokens(size), np.maximum(low, least * size)
            allowed = count >= fewest * (1 - _ROUNDING)
            return np.where(allowed, self.supervised_loss(size, count), np.inf)

        if size is None:
            [size] = _lowest(lambda point: loss(np.exp(point[0])), [self.limits.size])
        count, reached = tokens(np.asarray(size)), loss(np.asarray(size))
        spent = 3 * self.flops(np.asarray(size)) * count
        return Choice("supervised", float(spent), size, float(count), float(reached))

    def best(self, compute: float, size: float, scenario: Scenario) -> Choice:
        """The best student of `size` parameters for a budget, and the teacher for it.

        Where the teacher costs nothing, only its loss is chosen: named is then the one that is
        cheapest to train to that loss, if one within the limits gets there. The loss is infinite
        where the limits leave no student.
        """
        if scenario.is_free:
            found = self._of_a_free_teacher(compute, size, scenario)
            assert found.teacher_loss is not None
            teacher, learnt = self.cheapest_teacher(found.teacher_loss)
            if not np.isclose(self.supervised_loss(teacher, learnt), found.teacher_loss, rtol=1e-4):
                return found
            return replace(found, teacher_size=teacher, teacher_tokens=learnt)
        teacher, learnt = self._teacher(compute, size, scenario)
        heard = float(self.supervised_loss(teacher, learnt))
        tokens = self.tokens_left(compute, size, scenario, np.array(teacher), np.array(learnt))
        found = self.with_teacher(size, float(tokens), scenario, (teacher, learnt, heard))
        allowed = self._may_teach(np.array(learnt), np.array(heard))
        return found if allowed else replace(found, loss=float("inf"))

    def with_teacher(
        self, size: float, tokens: float, scenario: Scenario, teacher: tuple[float, float, float]
    ) -> Choice:
        """A student of a teacher of that size, tokens and loss, and its bill."""
        teacher_size, learnt, heard = teacher
        spent = scenario.per_token(self.flops, size, np.array(teacher_size)) * tokens
        spent += scenario.teacher(self.flops, np.array(teacher_size), np.array(learnt))
        loss = self._allowed(self.student_loss(size, tokens, heard), np.asarray(tokens))
        return Choice(scenario.name, float(spent), size, tokens, float(loss), *teacher)

    def sketch(self, compute: float, size: float, scenario: Scenario | None) -> Choice:
        """`best`, or `without_teacher` for None, in less time: it names no free teacher."""
        if scenario is None:
            return self.without_teacher(compute, size)
        if scenario.is_free:
            return self._of_a_free_teacher(compute, size, scenario)
        return self.best(compute, size, scenario)

    def best_loss(self, compute: float, size: float, scenario: Scenario | None) -> float:
        return self.sketch(compute, size, scenario).loss

    def _of_a_free_teacher(self, compute: float, size: float, scenario: Scenario) -> Choice:
        """Of which only the loss is chosen."""
        tokens = self.tokens_left(compute, size, scenario, np.ones(()), np.zeros(()))
        loss, heard = self.best_teacher(size, float(tokens))
        spent = scenario.per_token(self.flops, size, np.ones(())) * tokens
        loss = float(self._allowed(np.asarray(loss), tokens))
        return Choice(scenario.name, float(spent), size, float(tokens), loss, teacher_loss=heard)

    def _teacher(self, compute: float, size: float, scenario: Scenario) -> tuple[float, float]:
        """Size and tokens of the teacher to take."""

        def loss(point: np.ndarray) -> np.ndarray:
            teacher, learnt = np.exp(point[0]), np.exp(point[0] + point[1])
            heard = self.supervised_loss(teacher, learnt)
            tokens = self.tokens_left(compute, size, scenario, teacher, learnt)
            found = self._allowed(self.student_loss(size, tokens, heard), tokens)
            return np.where(self._may_teach(learnt, heard), found, np.inf)

        teacher, ratio = _lowest(loss, [self.limits.size, self.limits.per_parameter])
        return teacher, teacher * ratio

    def best_teacher(self, size: float, tokens: float) -> tuple[float, float]:
        """The lowest loss of a student, and its teacher's: a better one would give a worse one."""
        lowest = max(self.limits.teacher_loss, self.entropy * (1 + 1e-9), _LOWEST)

        def loss(point: np.ndarray) -> np.ndarray:
            return self.student_loss(size, tokens, np.exp(point[0]))

        [heard] = _lowest(loss, [(lowest, 20 * lowest)])
        return float(self.student_loss(size, tokens, heard)), heard

    def cheapest_teacher(self, loss: float) -> tuple[float, float]:
        """Size and tokens of the least compute that reach a loss, by supervised training."""
        low, high = np.log(1e6), np.log(1e40)
        for _ in range(60):
            middle = (low + high) / 2
            better = self.without_teacher(float(np.exp(middle))).loss <= loss
            low, high = (low, middle) if better else (middle, high)
        found = self.without_teacher(float(np.exp(high)))
        return found.size, found.tokens

    @property
    def entropy(self) -> float:
        """What no teacher can go below, where the law has such a loss."""
        return float(self.supervised.get("E", 0.0))

    def tokens_left(
        self,
        compute: float,
        size: float,
        scenario: Scenario,
        teacher: np.ndarray,
        learnt: np.ndarray,
    ) -> np.ndarray:
        """The student's tokens that a budget is left for, and may be used."""
        most = self.limits.student_tokens[1]
        return np.minimum(scenario.tokens(self.flops, compute, size, teacher, learnt), most)

    def _allowed(self, loss: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Infinite where there are fewer tokens than a student must have."""
        fewest = self.limits.student_tokens[0] * (1 - _ROUNDING)
        return np.where(tokens >= fewest, loss, np.inf)

    def _may_teach(self, learnt: np.ndarray, heard: np.ndarray) -> np.ndarray:
        """Whether a teacher of such tokens and loss is within the limits."""
        low, high = self.limits.tokens
        enough = (learnt >= low * (1 - _ROUNDING)) & (learnt <= high * (1 + _ROUNDING))
        return enough & (heard >= self.limits.teacher_loss * (1 - _ROUNDING))

    def limited(self, **changes: float | tuple[float, float]) -> "Planner":
        return replace(self, limits=replace(self.limits, **changes))


def _lowest(
    loss: Callable[[np.ndarray], np.ndarray], sides: list[tuple[float, float]]
) -> list[float]:
    """Where it is lowest between the sides, searched by logarithms.

    loss: of points [m, ...] with as many coordinates as there are sides.
    """
    limits = np.log(np.array(sides))
    low, high = limits.T
    best = (low + high) / 2
    for number in range(_ROUNDS):
        points = _POINTS if len(sides) > 1 or number else 20 * _POINTS
        axes = [np.linspace(*side, points) for side in zip(low, high, strict=True)]
        point = np.stack(np.meshgrid(*axes, indexing="ij"))
        found = loss(point)
        found = np.where(np.isfinite(found), found, np.inf)
        best = point.reshape(len(sides), -1)[:, np.argmin(found)]
        half = (high - low) / 2 * _NARROWER
        low, high = np.maximum(best - half, limits[:, 0]), np.minimum(best + half, limits[:, 1])
    return [float(each) for each in np.exp(best)]
