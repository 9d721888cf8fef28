"""For which budgets a teacher pays: its student against a model without a teacher."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from distil_jax.scaling.bill import Scenario
from distil_jax.scaling.planner import Planner

_A_DECADE = 5  # budgets that are compared; between two of them it is halved
_HALVINGS = 6

Better = Literal["always", "never", "up to", "from", "not measured"]


@dataclass(frozen=True)
class BreakEven:
    """For which budgets a scenario is better than none: than a model without a teacher.

    compute: where it changes (at last, if it does so several times); tokens: which the model
    without a teacher then has. low, high: of `compute`, the 90 % interval by a law's draws; a draw
    in which it does not change between the budgets counts as changing at their end. lowest,
    highest: budgets that were compared; None where none could be.
    """

    scenario: str
    better: Better
    compute: float | None = None
    tokens: float | None = None
    low: float | None = None
    high: float | None = None
    lowest: float | None = None
    highest: float | None = None

    def changes_at(self, better: Better) -> float | None:
        """`compute`, of what is "up to" or "from" by others; None where nothing was measured."""
        if self.better in ("up to", "from"):
            return self.compute
        whole = self.better == "always"
        return self.highest if whole == (better == "up to") else self.lowest


def break_even(
    planner: Planner, size: float, scenario: Scenario, between: tuple[float, float]
) -> BreakEven:
    """Of the budgets `between`, at which the student of a teacher is the better one."""

    def gain(compute: float) -> float:
        """Of the teacher; nan where one of both has too few tokens or too many."""
        taught, alone = (planner.best_loss(compute, size, each) for each in (scenario, None))
        return alone - taught if np.isfinite([taught, alone]).all() else np.nan

    steps = max(1, round(np.log10(between[1] / between[0]) * _A_DECADE))
    grid = np.geomspace(*between, steps + 1)
    gains = np.array([gain(float(compute)) for compute in grid])
    grid, wins = grid[~np.isnan(gains)], gains[~np.isnan(gains)] > 0
    if not len(grid):
        return BreakEven(scenario.name, "not measured")
    ends = {"lowest": float(grid[0]), "highest": float(grid[-1])}
    changes = np.flatnonzero(wins[:-1] != wins[1:])
    if not len(changes):
        return BreakEven(scenario.name, "always" if wins[0] else "never", **ends)
    low, high = (float(grid[changes[-1] + side]) for side in (0, 1))
    for _ in range(_HALVINGS):
        middle = float(np.sqrt(low * high))
        later = (gain(middle) > 0) == wins[-1]
        low, high = (low, middle) if later else (middle, high)
    tokens = planner.without_teacher(high, size).tokens
    return BreakEven(scenario.name, "from" if wins[-1] else "up to", high, tokens, **ends)


def with_interval(
    found: BreakEven,
    drawn: Sequence[Planner],
    size: float,
    scenario: Scenario,
    confidence: float = 0.9,
) -> BreakEven:
    """drawn: the planner by other draws of its laws. As it is, where nothing changes."""
    if found.compute is None or not drawn or found.lowest is None or found.highest is None:
        return found
    each = [break_even(one, size, scenario, (found.lowest, found.highest)) for one in drawn]
    turns = [turn for one in each if (turn := one.changes_at(found.better)) is not None]
    if not turns:
        return found
    sides = (1 - confidence) / 2, (1 + confidence) / 2
    low, high = np.exp(np.quantile(np.log(turns), sides))
    return replace(found, low=float(low), high=float(high))
