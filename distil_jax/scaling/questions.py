"""What people ask a planner: enough compute for a loss, which teacher, when a teacher pays."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from distil_jax.errors import UserError
from distil_jax.scaling.bill import Scenario, shared_by
from distil_jax.scaling.planner import Choice, Planner

_HALVINGS = 40


class Unreachable(UserError):
    """A loss that no compute within the planner's limits reaches."""


@dataclass(frozen=True)
class Teacher:
    """One that exists: parameters, and its loss on held-out text, nats a token."""

    name: str
    size: float
    loss: float


def chosen(planner: Planner, compute: float, size: float, scenario: Scenario | None) -> Choice:
    """The best for a budget; scenario None: without a teacher."""
    if scenario is None:
        return planner.without_teacher(compute, size)
    return planner.best(compute, size, scenario)


def compute_for(
    planner: Planner,
    loss: float,
    size: float,
    scenario: Scenario | None,
    between: tuple[float, float] = (1e10, 1e32),
) -> Choice:
    """The least compute that reaches a loss. Raises Unreachable where none up to the limit does."""
    low, high = np.log(between)
    lowest = planner.best_loss(between[1], size, scenario)
    if not lowest <= loss:
        raise Unreachable(
            f"loss {loss:g}: a model of {size:.3g} parameters does not reach it "
            f"({scenario.name if scenario else 'supervised'}): {lowest:.4g} is the lowest; ask for "
            f"that or more, or for a larger model"
        )
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        reached = planner.best_loss(float(np.exp(middle)), size, scenario) <= loss
        low, high = (low, middle) if reached else (middle, high)
    return chosen(planner, float(np.exp(high)), size, scenario)


def break_even(
    planner: Planner,
    size: float,
    scenario: Scenario,
    between: tuple[float, float] = (1e18, 1e27),
    a_decade: int = 10,
) -> float | None:
    """The compute up to which a teacher gives the better student, to a tenth of a decade.

    None where it never does, or does so at the upper limit.
    """
    steps = round(np.log10(between[1] / between[0]) * a_decade)
    grid = np.geomspace(*between, steps + 1)
    wins = np.array(
        [planner.best_loss(c, size, scenario) < planner.best_loss(c, size, None) for c in grid]
    )
    lost = np.flatnonzero(wins[:-1] & ~wins[1:])
    return float(grid[lost[-1] + 1]) if len(lost) and not wins[-1] else None


def ranked(
    planner: Planner, teachers: Iterable[Teacher], compute: float, size: float, scenario: Scenario
) -> list[tuple[Teacher, Choice]]:
    """Students of teachers that exist, the best first; what their own training took is paid."""
    paid = replace(scenario, pretraining=0.0)

    def students() -> Iterator[tuple[Teacher, Choice]]:
        for teacher in teachers:
            at = np.asarray(teacher.size)
            tokens = float(planner.tokens_left(compute, size, paid, at, np.zeros(())))
            of = teacher.size, 0.0, teacher.loss
            student = planner.with_teacher(size, tokens, paid, of)
            yield teacher, replace(student, teacher_tokens=None)  # it is not known

    return sorted(students(), key=lambda each: each[1].loss)


def pays_from(planner: Planner, compute: float, size: float, most: int = 1024) -> int | None:
    """For how many students of one teacher, its training shared and its logits cached, each is
    better than without; None if for no number up to `most`, compute being that of each."""
    alone = planner.best_loss(compute, size, None)
    low, high = 0, 1

    def better(students: int) -> bool:
        return planner.best_loss(compute, size, shared_by(students)) < alone

    while not better(high):
        if high >= most:
            return None
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if better(middle) else (middle, high)
    return high
