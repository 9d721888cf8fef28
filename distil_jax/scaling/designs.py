"""Runs to make: the three designs of Busbridge et al. 2025, and those that tell most of a question.

arXiv:2502.08606, section 4: together they pin what the distillation law says of the student's size
and tokens (1), of the teacher's loss (2), and where a teacher is too good for its student (3).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from distil_jax.scaling.bill import Flops

_RATIO = 20.0  # tokens a parameter of a teacher trained about as well as its compute allows


@dataclass(frozen=True)
class Run:
    """A student of `size` parameters and `tokens`, and its teacher; None: it learns alone."""

    size: float
    tokens: float
    teacher_size: float | None = None
    teacher_tokens: float | None = None


def equal_compute(
    sizes: Iterable[float],
    budgets: Iterable[float],
    flops: Flops,
    ratios: tuple[float, float] = (1.0, 1000.0),
) -> list[tuple[float, float]]:
    """Sizes and tokens that take a budget, of so many tokens a parameter: IsoFLOP profiles."""
    pairs = [(size, budget / (3 * flops(size))) for budget, size in product(budgets, sizes)]
    low, high = ratios
    return [(size, tokens) for size, tokens in pairs if low <= tokens / size <= high]


def students_of_equal_compute(
    teachers: Iterable[float], students: Sequence[tuple[float, float]]
) -> list[Run]:
    """Design 1: teachers of one ratio; students on IsoFLOP profiles."""
    return [Run(n, d, t, _RATIO * t) for t, (n, d) in product(teachers, students)]


def teachers_of_equal_compute(
    students: Iterable[float], teachers: Sequence[tuple[float, float]]
) -> list[Run]:
    """Design 2: teachers on IsoFLOP profiles; students of one ratio."""
    return [Run(s, _RATIO * s, n, d) for s, (n, d) in product(students, teachers)]


def fixed_ratios(
    teachers: Iterable[float],
    students: Iterable[float],
    ratios: Iterable[float] = (20, 40, 80, 160, 320),
) -> list[Run]:
    """Design 3: both of fixed ratios, the students of several."""
    return [Run(s, r * s, t, _RATIO * t) for t, s, r in product(teachers, students, ratios)]


def most_telling(
    asked: np.ndarray, seen: np.ndarray, noise: float, costs: np.ndarray, budget: float
) -> list[tuple[int, float]]:
    """Which of m candidates to run, one after the other, and the asked number's spread after each.

    asked [b], seen [b, m]: by each draw of a law, the number that is asked for and what every
    candidate would measure, both as logarithms; noise: the standard deviation of a measurement.
    Each run is the one of the largest fall of the asked variance for its cost, by Bayes' rule for
    what is jointly normal, among those that the rest of the budget pays; none twice, as a repeated
    run tells of its seed alone. Chaloner and Verdinelli 1995: Bayesian c-optimal design.
    """
    spread = np.cov(np.column_stack([asked, seen]), rowvar=False)
    chosen: list[tuple[int, float]] = []
    left = np.ones(len(costs), bool)
    while True:
        told = np.diag(spread)[1:] + noise**2
        falls = spread[0, 1:] ** 2 / told
        open_ = left & (costs <= budget)
        if not open_.any() or falls[open_].max() <= 1e-9 * spread[0, 0]:
            return chosen
        best = int(np.argmax(np.where(open_, falls / costs, -np.inf)))
        column = spread[:, 1 + best]
        spread = spread - np.outer(column, column) / told[best]
        budget, left[best] = budget - costs[best], False
        chosen.append((best, float(np.sqrt(max(spread[0, 0], 0.0)))))
