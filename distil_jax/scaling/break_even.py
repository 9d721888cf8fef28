"""For which budgets a teacher pays: its student against a model without a teacher."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from distil_jax.scaling.believed import Believed
from distil_jax.scaling.bill import SCENARIOS, Scenario
from distil_jax.scaling.planner import Choice, Planner

_A_DECADE = 5  # budgets that are compared; between two of them it is halved
_HALVINGS = 6
_DRAWS = 60  # for an interval

Between = tuple[float, float]


@dataclass(frozen=True)
class BreakEven:
    """For which budgets a scenario is better than none: than a model without a teacher.

    ranges: those for which it is, of all from `lowest` to `highest`, which were compared; of none,
    where both are None. low, high: where it changes just once, the 90 % interval of that budget; a
    draw in which it does not change counts as changing at the end.
    """

    scenario: str
    ranges: tuple[Between, ...] = ()
    lowest: float | None = None
    highest: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def changes(self) -> list[float]:
        """Budgets at which it begins or ceases to pay."""
        return [
            end for each in self.ranges for end in each if end not in (self.lowest, self.highest)
        ]

    @property
    def pays(self) -> str:
        """In words."""
        if self.lowest is None:
            return "not measured"
        if not self.ranges:
            return "never"
        return " and ".join(map(self._told, self.ranges))

    def _told(self, range_: Between) -> str:
        low, high = range_
        if (low, high) == (self.lowest, self.highest):
            return "always"
        if low == self.lowest:
            return f"up to {high:.3g}"
        return f"from {low:.3g}" if high == self.highest else f"{low:.3g} to {high:.3g}"


def break_evens(
    believed: Believed, planner: Planner, size: float, extrapolate: bool = False
) -> list[BreakEven]:
    """Of each scenario, for budgets of which both plans are where the law was measured, or also
    far from there. With an interval for the first alone: the others take their time."""
    between = _both_have_tokens(believed, planner, size, extrapolate)
    if between[0] >= between[1]:
        return [BreakEven(each.name) for each in SCENARIOS]

    def measured(choice: Choice) -> bool:
        return extrapolate or not believed.outside(choice)

    first, *others = (break_even(planner, size, each, between, measured) for each in SCENARIOS)
    drawn = believed.drawn_planners(planner, _DRAWS)
    return [with_interval(first, drawn, size, SCENARIOS[0]), *others]


def break_even(
    planner: Planner,
    size: float,
    scenario: Scenario,
    between: Between,
    measured: Callable[[Choice], bool] = lambda _: True,
) -> BreakEven:
    """Of the budgets `between`, for which the student of a teacher is the better one.

    measured: whether a plan may be compared.
    """

    def gain(compute: float) -> float:
        """Of the teacher; nan where one of both cannot be had, or is not measured."""
        plans = [planner.sketch(compute, size, each) for each in (scenario, None)]
        taught, alone = (plan.loss for plan in plans)
        comparable = np.isfinite([taught, alone]).all() and all(map(measured, plans))
        return alone - taught if comparable else np.nan

    steps = max(1, round(np.log10(between[1] / between[0]) * _A_DECADE))
    gains = {float(c): gain(float(c)) for c in np.geomspace(*between, steps + 1)}
    compared = [compute for compute, each in gains.items() if not np.isnan(each)]
    if not compared:
        return BreakEven(scenario.name)
    ranges = []
    begin = compared[0]
    for wins, group in groupby(compared, key=lambda compute: gains[compute] > 0):
        *_, last = group
        later = [compute for compute in compared if compute > last]
        end = _change(gain, last, later[0]) if later else last
        if wins:
            ranges.append((begin, end))
        begin = end
    return BreakEven(scenario.name, tuple(ranges), compared[0], compared[-1])


def _change(gain: Callable[[float], float], low: float, high: float) -> float:
    """Between two budgets, where the sign changes."""
    before = gain(low) > 0
    for _ in range(_HALVINGS):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if (gain(middle) > 0) == before else (low, middle)
    return high


def with_interval(
    found: BreakEven,
    drawn: Iterable[Planner],
    size: float,
    scenario: Scenario,
    confidence: float = 0.9,
) -> BreakEven:
    """drawn: the planner by other draws of its laws. As it is, where it does not change once."""
    if len(found.changes) != 1 or found.lowest is None or found.highest is None:
        return found
    begins = found.ranges[0][1] == found.highest
    between = found.lowest, found.highest
    each = [break_even(one, size, scenario, between) for one in drawn]
    turns = [_turn(one, begins) for one in each if one.lowest is not None]
    if not turns:
        return found
    sides = (1 - confidence) / 2, (1 + confidence) / 2
    low, high = np.exp(np.quantile(np.log(turns), sides))
    return replace(found, low=float(low), high=float(high))


def _turn(found: BreakEven, begins: bool) -> float:
    """Where a draw begins to pay, or else where it ceases."""
    assert found.lowest is not None
    assert found.highest is not None
    if not found.ranges:
        return found.highest if begins else found.lowest
    return found.ranges[0][0] if begins else found.ranges[-1][1]


def _both_have_tokens(
    believed: Believed, planner: Planner, size: float, extrapolate: bool
) -> Between:
    """Operations for which both a student and a model without a teacher have tokens as measured."""
    both = believed.teachers, believed.students
    if extrapolate:
        spans = [each.ranges["D"] for each in both]
    else:
        spans = [each.tokens_for(size) for each in both]
    low, high = max(fewest for fewest, _ in spans), min(most for _, most in spans)
    if extrapolate:
        low, high = low / 1e3, high * 1e5
    a_token = 3 * planner.flops(size)
    return float(a_token * low), float(a_token * high)
