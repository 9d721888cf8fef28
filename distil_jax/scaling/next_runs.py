"""The runs that would make a planned loss surest, for a budget of their own."""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from distil_jax.errors import UserError
from distil_jax.scaling.believed import Believed
from distil_jax.scaling.bill import INFERENCE
from distil_jax.scaling.domain import PER_PARAMETER
from distil_jax.scaling.laws.distillation import TEACHER_LOSS
from distil_jax.scaling.planner import Choice

_SIZES, _RATIOS, _TEACHERS = 6, 4, 5  # of the grid of candidates
_LEAST = 0.01  # of the spread, which a run must lessen by as much to be worth its name
_BILLED = (
    "Billed: all of a run's training and its teacher's forward passes. Teachers are runs of this "
    "law, trained already"
)


@dataclass(frozen=True)
class NextRuns:
    """asked: which loss they make surer, what is billed, and why there are none where there are
    none, in words. spread_before: its relative standard deviation by the draws. runs: one after the
    other, each with the spread before and after it."""

    asked: str
    spread_before: float
    runs: list[dict[str, Any]]


@dataclass(frozen=True)
class _Candidate:
    """teacher_tokens: of a teacher that is trained: its loss is measured, in every draw the same,
    which a choice tells by having no such tokens."""

    choice: Choice
    teacher_tokens: float | None = None


def next_runs(believed: Believed, asked: Choice, budget: float) -> NextRuns:
    """Those that make the asked loss surest.

    Candidates are where the law's runs are: alone, and of teachers that are among those runs.
    Raises UserError for a law without draws, or a budget for no run.
    """
    if len(believed.drawn) < 2:
        raise UserError(
            "the next runs are chosen by the draws of a fit's bootstrap: expected a law that "
            "`distil-jax fit` wrote with some --draws"
        )
    candidates = _candidates(believed)
    if not candidates:
        raise UserError("--next-runs: no run of a plain grid lies where the law was measured")
    costs = np.array([each.choice.compute for each in candidates])
    if costs.min() > budget:
        raise UserError(
            f"--next-runs {budget:g}: the cheapest run where the law was measured takes "
            f"{costs.min():.3g} operations; ask for that or more"
        )
    logs = np.array(
        [believed.drawn_log_losses(each) for each in (asked, *(c.choice for c in candidates))]
    )
    logs = logs[:, np.isfinite(logs).all(axis=0)]
    chosen = most_telling(logs[0], logs[1:].T, believed.noise, costs, budget)
    before = float(np.std(logs[0], ddof=1))
    spreads = [before, *(spread for _, spread in chosen)]
    runs = [
        _row(candidates[number], spreads[order], spreads[order + 1])
        for order, (number, _) in enumerate(chosen)
    ]
    none = "" if runs else f". No run that {budget:g} operations pay lessens that by {_LEAST:.0%}"
    return NextRuns(f"{_told(asked)} {_BILLED}{none}", before, runs)


def _row(candidate: _Candidate, before: float, after: float) -> dict[str, Any]:
    choice = candidate.choice
    return {
        "size": choice.size,
        "tokens": choice.tokens,
        "teacher_size": choice.teacher_size,
        "teacher_tokens": candidate.teacher_tokens,
        "teacher_loss": choice.teacher_loss,
        "compute": choice.compute,
        "spread_before": before,
        "spread_after": after,
    }


def _told(asked: Choice) -> str:
    """Of which plan the loss is asked for."""
    teacher = f", a teacher of loss {asked.teacher_loss:.4g}" if asked.teacher_loss else ""
    return (
        f"how sure is the loss {asked.loss:.4g} of the plan {asked.scenario!r}: "
        f"{asked.size:.4g} parameters, {asked.tokens:.4g} tokens{teacher}?"
    )


def _candidates(believed: Believed) -> list[_Candidate]:
    planner, teachers = believed.planner, _teachers(believed)
    sizes = _spaced(believed.students.ranges["N"], _SIZES)
    ratios = _spaced(believed.students.ranges[PER_PARAMETER], _RATIOS)
    found = []
    for size, ratio in product(sizes, ratios):
        tokens = ratio * size
        compute = 3 * planner.flops(size) * tokens
        found.append(_Candidate(Choice("supervised", compute, size, tokens, float("nan"))))
        for teacher, learnt, heard in teachers:
            student = planner.with_teacher(size, tokens, INFERENCE, (teacher, 0.0, heard))
            found.append(_Candidate(replace(student, teacher_tokens=None), learnt))
    return [each for each in found if not believed.outside(each.choice)]


def _teachers(believed: Believed) -> list[tuple[float, float, float]]:
    """N, D and loss of some of those that are trained, from the best to the worst."""
    low, high = believed.students.ranges[TEACHER_LOSS]
    runs = believed.trained[np.argsort(believed.trained[:, 2])]
    runs = runs[(runs[:, 2] >= low * (1 - 1e-9)) & (runs[:, 2] <= high * (1 + 1e-9))]
    if not len(runs):
        return []
    some = np.unique(np.linspace(0, len(runs) - 1, _TEACHERS).round().astype(int))
    return [(float(n), float(d), float(loss)) for n, d, loss in runs[some]]


def _spaced(between: tuple[float, float], count: int) -> list[float]:
    """So many by equal factors; one, where there is nothing between."""
    low, high = between
    return np.geomspace(low, high, count if high > low * (1 + 1e-9) else 1).tolist()


def most_telling(
    asked: np.ndarray, seen: np.ndarray, noise: float, costs: np.ndarray, budget: float
) -> list[tuple[int, float]]:
    """Which of m candidates to run, one after the other, and the asked number's spread after each.

    asked [b], seen [b, m]: by each draw of a law, the number that is asked for and what every
    candidate would measure, both as logarithms; noise: the standard deviation of a measurement.
    Each run is the one of the largest fall of the asked variance for its cost, by Bayes' rule for
    what is jointly normal, among those that the rest of the budget pays and that lessen the spread
    by 1 % or more; none twice, as a repeated run tells of its seed alone. Chaloner and Verdinelli
    1995: Bayesian c-optimal design.
    """
    spread = np.cov(np.column_stack([asked, seen]), rowvar=False)
    chosen: list[tuple[int, float]] = []
    left = np.ones(len(costs), bool)
    while True:
        told = np.diag(spread)[1:] + noise**2
        falls = spread[0, 1:] ** 2 / told
        tells = falls >= (1 - (1 - _LEAST) ** 2) * spread[0, 0]
        open_ = left & (costs <= budget) & tells & (falls > 0)
        if not open_.any():
            return chosen
        best = int(np.argmax(np.where(open_, falls / costs, -np.inf)))
        column = spread[:, 1 + best]
        spread = spread - np.outer(column, column) / told[best]
        budget, left[best] = budget - costs[best], False
        chosen.append((best, float(np.sqrt(max(spread[0, 0], 0.0)))))
