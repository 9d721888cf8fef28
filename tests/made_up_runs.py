"""Runs drawn from the published laws, in designs like those of Busbridge et al. 2025."""

import numpy as np

from distil_jax.scaling.fitting.runs import Runs
from distil_jax.scaling.language_models import APPLE
from distil_jax.scaling.laws import DISTILLATION, GAMMA
from distil_jax.scaling.laws.distillation import SUPERVISED_LOSS, TEACHER_LOSS
from distil_jax.scaling.laws.published import APPLE_DISTILLATION, APPLE_SUPERVISED

NOISE = 0.003
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
    for budget in _BUDGETS:
        tokens = budget / (3 * APPLE.forward_flops(SIZES))
        fair = (tokens / SIZES > 1) & (tokens / SIZES < 800)
        points += list(zip(SIZES[fair], tokens[fair], strict=True))
    size, tokens = np.array(points).T
    chosen = np.sort(np.random.default_rng(1).permutation(len(size))[:count])
    size, tokens = size[chosen], tokens[chosen]
    true = supervised_loss(size, tokens)
    return Runs.of({"N": size, "D": tokens}, noisy(true, seed)), true


def distillation_runs(seed: int | None = 0, count: int = 697) -> tuple[Runs, np.ndarray]:
    """The paper's three designs. The clusters are the teachers."""
    points = []
    for teacher in _TEACHERS:  # teachers of one ratio, students of equal compute
        for budget in _BUDGETS:
            tokens = budget / (3 * APPLE.forward_flops(SIZES))
            fair = (tokens / SIZES >= 4) & (tokens / SIZES <= 1000)
            points += [
                (n, d, teacher, 20 * teacher)
                for n, d in zip(SIZES[fair], tokens[fair], strict=True)
            ]
    for size in (198e6, 546e6, 975e6, 1.82e9):  # teachers of equal compute, students of one ratio
        for budget in _BUDGETS:
            learnt = budget / (3 * APPLE.forward_flops(SIZES))
            fair = learnt / SIZES > 2
            points += [
                (size, 20 * size, n, d) for n, d in zip(SIZES[fair], learnt[fair], strict=True)
            ]
    for teacher in (198e6, 266e6, *_TEACHERS):  # both of one ratio
        for size in (198e6, 546e6, 975e6, 1.82e9, 2.72e9):
            points += [(size, m * size, teacher, 20 * teacher) for m in (20, 40, 80, 160, 320)]
    size, tokens, teacher, learnt = np.array(points).T
    chosen = np.sort(np.random.default_rng(1).permutation(len(size))[:count])
    size, tokens, teacher, learnt = (each[chosen] for each in (size, tokens, teacher, learnt))
    columns = {
        "N": size,
        "D": tokens,
        TEACHER_LOSS: supervised_loss(teacher, learnt),
        SUPERVISED_LOSS: supervised_loss(size, tokens),
    }
    true = DISTILLATION.predict(APPLE_DISTILLATION, **columns)
    return Runs.of(columns, noisy(true, seed), clusters=columns[TEACHER_LOSS]), true


def noisy(loss: np.ndarray, seed: int | None) -> np.ndarray:
    if seed is None:
        return loss
    return loss * np.exp(NOISE * np.random.default_rng(seed).standard_normal(len(loss)))
