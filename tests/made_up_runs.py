"""Runs drawn from the published laws, in designs like those of Busbridge et al. 2025."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from distil_jax.scaling.bill import Flops
from distil_jax.scaling.fitting.runs import Runs
from distil_jax.scaling.language_models import APPLE
from distil_jax.scaling.laws import DISTILLATION, GAMMA
from distil_jax.scaling.laws.distillation import SUPERVISED_LOSS, TEACHER_LOSS
from distil_jax.scaling.laws.published import APPLE_DISTILLATION, APPLE_SUPERVISED

NOISE = 0.003
_RATIO = 20.0  # tokens a parameter of a teacher trained about as well as its compute allows
# Numbers of layers of the paper's models: parameters are 12 layers^3 128^2, and some norm gains.
_LAYERS = (8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40)
SIZES = np.array([12.0 * layers**3 * 128**2 for layers in _LAYERS])
_BUDGETS = (3e19, 1e20, 3e20, 1e21)
_TEACHERS = (546e6, 975e6, 1.82e9, 2.72e9, 4.82e9, 7.75e9)


def supervised_loss(size: np.ndarray | float, tokens: np.ndarray | float) -> np.ndarray:
    return GAMMA.predict(APPLE_SUPERVISED, N=size, D=tokens)


def supervised_runs(seed: int | None = 0, count: int = 73) -> tuple[Runs, np.ndarray]:
    """Runs, and their losses without noise: of one ratio, of 512e9 tokens, of equal compute."""
    points = [(size, 20 * size) for size in SIZES[::2]]
    points += [(size, 512e9) for size in SIZES[3::4]]
    points += equal_compute(SIZES, _BUDGETS, APPLE.forward_flops, (1, 800))
    size, tokens = _some(points, count)
    true = supervised_loss(size, tokens)
    return Runs.of({"N": size, "D": tokens}, noisy(true, seed)), true


def distillation_runs(seed: int | None = 0, count: int = 697) -> tuple[Runs, np.ndarray]:
    """The paper's three designs. The clusters are the teachers."""
    flops = APPLE.forward_flops
    runs = students_of_equal_compute(_TEACHERS, equal_compute(SIZES, _BUDGETS, flops, (4, 1000)))
    profiles = equal_compute(SIZES, _BUDGETS, flops, (2, 1e6))
    runs += teachers_of_equal_compute((198e6, 546e6, 975e6, 1.82e9), profiles)
    runs += fixed_ratios((198e6, 266e6, *_TEACHERS), (198e6, 546e6, 975e6, 1.82e9, 2.72e9))
    points = [(run.size, run.tokens, run.teacher_size, run.teacher_tokens) for run in runs]
    size, tokens, teacher, learnt = _some(points, count)
    columns = {
        "N": size,
        "D": tokens,
        TEACHER_LOSS: supervised_loss(teacher, learnt),
        SUPERVISED_LOSS: supervised_loss(size, tokens),
    }
    true = DISTILLATION.predict(APPLE_DISTILLATION, **columns)
    return Runs.of(columns, noisy(true, seed), clusters=columns[TEACHER_LOSS]), true


def _some(points: Sequence[tuple], count: int) -> np.ndarray:
    """So many of them, always the same ones, column by column."""
    chosen = np.sort(np.random.default_rng(1).permutation(len(points))[:count])
    return np.array(points, float)[chosen].T


def noisy(loss: np.ndarray, seed: int | None) -> np.ndarray:
    if seed is None:
        return loss
    return loss * np.exp(NOISE * np.random.default_rng(seed).standard_normal(len(loss)))


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
