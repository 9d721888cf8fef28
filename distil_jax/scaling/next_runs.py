"""The runs that would make a planned loss surest, for a budget of their own."""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from distil_jax.errors import UserError
from distil_jax.scaling.believed import Believed
from distil_jax.scaling.bill import INFERENCE
from distil_jax.scaling.domain import PER_PARAMETER
from distil_jax.scaling.planner import Choice

_SIZES, _RATIOS, _TEACHERS = 6, 4, 5  # of the grid of candidates


@dataclass(frozen=True)
class NextRuns:
    """asked: which loss they make surer, in words. spread_before: its relative standard deviation
    by the draws. runs: one after the other, each with the spread before and after it."""

    asked: str
    spread_before: float
    runs: list[dict[str, Any]]


def next_runs(believed: Believed, asked: Choice, budget: float) -> NextRuns:
    """Those that make the asked loss surest.

    Candidates are where the law's runs are: alone and with teachers of the losses there, whose
    forward passes are paid. Raises UserError for a law without draws, or a budget for no run.
    """
    if len(believed.drawn) < 2:
        raise UserError(
            "the next runs are chosen by the draws of a fit's bootstrap: expected a law that "
            "`distil-jax fit` wrote with some --draws"
        )
    candidates = _candidates(believed)
    if not candidates:
        raise UserError("--next-runs: no run of a plain grid lies where the law was measured")
    logs = np.array([believed.drawn_log_losses(each) for each in (asked, *candidates)])
    logs = logs[:, np.isfinite(logs).all(axis=0)]
    costs = np.array([each.compute for each in candidates])
    chosen = most_telling(logs[0], logs[1:].T, believed.noise, costs, budget)
    if not chosen and costs.min() > budget:
        raise UserError(
            f"--next-runs {budget:g}: the cheapest run where the law was measured takes "
            f"{costs.min():.3g} operations; ask for that or more"
        )
    before = float(np.std(logs[0], ddof=1))
    spreads = [before, *(spread for _, spread in chosen)]
    runs = [
        {
            "size": candidates[number].size,
            "tokens": candidates[number].tokens,
            "teacher_size": candidates[number].teacher_size,
            "teacher_loss": candidates[number].teacher_loss,
            "compute": candidates[number].compute,
            "spread_before": spreads[order],
            "spread_after": spreads[order + 1],
        }
        for order, (number, _) in enumerate(chosen)
    ]
    return NextRuns(_told(asked), before, runs)


def _told(asked: Choice) -> str:
    """Of which plan the loss is asked for."""
    teacher = f", a teacher of loss {asked.teacher_loss:.4g}" if asked.teacher_loss else ""
    return (
        f"how sure is the loss {asked.loss:.4g} of the plan {asked.scenario!r}: "
        f"{asked.size:.4g} parameters, {asked.tokens:.4g} tokens{teacher}?"
    )


def _candidates(believed: Believed) -> list[Choice]:
    planner = believed.planner
    sizes = _spaced(believed.students.ranges["N"], _SIZES)
    teachers = _spaced(believed.teachers.ranges["N"], _TEACHERS)
    ratios = _spaced(believed.students.ranges[PER_PARAMETER], _RATIOS)
    found = []
    for size, ratio in product(sizes, ratios):
        tokens = ratio * size
        compute = 3 * planner.flops(size) * tokens
        found.append(Choice("supervised", compute, size, tokens, float("nan")))
        for teacher in teachers:
            heard = float(planner.supervised_loss(teacher, 20 * teacher))
            student = planner.with_teacher(size, tokens, INFERENCE, (teacher, 0.0, heard))
            found.append(replace(student, teacher_tokens=None))  # its loss is measured, not fitted
    return [each for each in found if not believed.outside(each)]


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
