"""What people ask a planner: enough compute for a loss, which teacher, for how many students."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from distil_jax.errors import UserError
from distil_jax.scaling.bill import BEST_CASE, Scenario, shared_by
from distil_jax.scaling.planner import Choice, Planner

_HALVINGS = 40
_NEAR = 1e-4  # of a limit: this near is at it


class Unreachable(UserError):
    """A loss that no compute within the planner's limits reaches.

    nearest: what comes nearest to it; of infinite loss where the limits leave no tokens at all.
    """

    def __init__(self, loss: float, nearest: Choice) -> None:
        super().__init__(
            f"loss {loss:g}: a model of {nearest.size:.3g} parameters does not reach it "
            f"({nearest.scenario}): {_lowest_told(nearest)}"
        )
        self.nearest = nearest


def _lowest_told(nearest: Choice) -> str:
    """What can be reached, and where; rounded up, so that it can be asked for."""
    if math.isinf(nearest.loss):
        return "none at all is within the limits; ask for another size"
    lowest = math.ceil(nearest.loss * 1e4) / 1e4
    where = f"{nearest.tokens:.4g} tokens"
    if nearest.teacher_loss is not None:
        where += f" and a teacher of loss {nearest.teacher_loss:.4g}"
    return (
        f"{lowest:g} is the lowest within the limits, by {where}; ask for that or more, or for a "
        f"larger model"
    )


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


def at_limits(planner: Planner, choice: Choice) -> str:
    """Which of the planner's limits a choice is at, in words; empty where at none.

    What a free teacher is like is no choice but for its loss.
    """
    limits, (least, most) = planner.limits, planner.limits.per_parameter
    if choice.teacher_loss is None:
        low, high = limits.tokens
        fewest, greatest = max(low, least * choice.size), min(high, most * choice.size)
        return _sides({"tokens": (choice.tokens, fewest, greatest)})
    spans = {
        "tokens": (choice.tokens, *limits.student_tokens),
        "teacher_loss": (choice.teacher_loss, limits.teacher_loss, math.inf),
    }
    if choice.teacher_size and choice.teacher_tokens and choice.scenario != BEST_CASE.name:
        ratio = choice.teacher_tokens / choice.teacher_size
        spans["teacher_size"] = choice.teacher_size, *limits.size
        spans["teacher_tokens"] = choice.teacher_tokens, *limits.tokens
        spans["teacher's D/N"] = ratio, least, most
    return _sides(spans)


def _sides(spans: dict[str, tuple[float, float, float]]) -> str:
    """spans: by name a value, and the lowest and highest that it may be."""
    found = []
    for name, (value, low, high) in spans.items():
        if value <= low * (1 + _NEAR):
            found.append(f"{name} at its lowest")
        elif value >= high * (1 - _NEAR):
            found.append(f"{name} at its highest")
    return ", ".join(found)


def compute_for(
    planner: Planner,
    loss: float,
    size: float,
    scenario: Scenario | None,
    between: tuple[float, float] = (1e10, 1e32),
) -> Choice:
    """The least compute that reaches a loss. Raises Unreachable where none up to the limit does."""
    low, high = np.log(between)
    if not planner.best_loss(between[1], size, scenario) <= loss:
        raise Unreachable(loss, chosen(planner, between[1], size, scenario))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        reached = planner.best_loss(float(np.exp(middle)), size, scenario) <= loss
        low, high = (low, middle) if reached else (middle, high)
    return chosen(planner, float(np.exp(high)), size, scenario)


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
