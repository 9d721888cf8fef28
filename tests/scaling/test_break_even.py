"""For which budgets a teacher pays."""

from dataclasses import replace

import numpy as np
import pytest

from distil_jax.scaling.bill import BEST_CASE, BOTH, PRETRAINING
from distil_jax.scaling.break_even import BreakEven, break_even, with_interval
from distil_jax.scaling.laws.published import APPLE_DISTILLATION, APPLE_SUPERVISED
from distil_jax.scaling.planner import Planner

PLANNER = Planner(APPLE_SUPERVISED, APPLE_DISTILLATION)


def test_a_free_teacher():
    """Where the spec's grid of a tenth of a decade has it."""
    for size, compute in ((1e9, 2.0e22), (3e9, 7.9e22), (1e10, 1.6e24)):
        found = break_even(PLANNER, size, BEST_CASE, between=(1e21, 1e25))
        print(f"\nbreak-even of {size:.0e}: {found.pays}", end="")
        assert found.pays.startswith("up to")
        [change] = found.changes
        assert -0.01 < np.log10(change / compute) < 0.1
    assert break_even(PLANNER, 1e9, BOTH, between=(1e20, 1e24)).pays == "never"


def test_a_budget_below_gains_and_one_above_does_not():
    [change] = break_even(PLANNER, 1e9, BEST_CASE, between=(1e21, 1e25)).changes
    for times, gains in ((0.98, True), (1.02, False)):
        taught = PLANNER.best_loss(times * change, 1e9, BEST_CASE)
        assert (taught < PLANNER.best_loss(times * change, 1e9, None)) == gains


def test_what_pays_between_two_budgets():
    """Of 3e8 parameters a teacher's training pays from 1.7e21 to 9e22, not before or after."""
    found = break_even(PLANNER, 3e8, PRETRAINING, between=(1e20, 1e24))
    [(low, high)] = found.ranges
    assert 1.4e21 < low < 2e21
    assert 6e22 < high < 9.5e22
    assert found.pays == f"{low:.3g} to {high:.3g}"
    for compute, pays in ((1e21, False), (5e21, True), (3e23, False)):
        gain = PLANNER.best_loss(compute, 3e8, None) - PLANNER.best_loss(compute, 3e8, PRETRAINING)
        assert (gain > 0) == pays


def test_why_there_is_none():
    always = break_even(PLANNER, 1e9, BEST_CASE, between=(1e21, 1e22))
    assert (always.pays, always.changes) == ("always", [])
    assert (always.lowest, always.highest) == pytest.approx((1e21, 1e22))
    none = PLANNER.limited(student_tokens=(1e11, 1e10))
    unknown = break_even(none, 1e9, BEST_CASE, between=(1e21, 1e22))
    assert unknown == BreakEven("best case")
    assert unknown.pays == "not measured"
    assert break_even(PLANNER, 3e8, PRETRAINING, between=(1e21, 1e22)).pays.startswith("from 1.")


def test_what_is_not_measured_is_not_compared():
    found = break_even(PLANNER, 1e9, BEST_CASE, (1e21, 1e25), lambda plan: plan.tokens < 1e12)
    assert found.pays == "always"
    assert found.highest is not None
    assert found.highest < 2.2e22


def test_its_interval():
    """Draws that never change count at the end where they would."""
    between = (1e21, 1e24)
    found = break_even(PLANNER, 1e9, BEST_CASE, between)
    drawn = [
        replace(PLANNER, supervised={**APPLE_SUPERVISED, "E": APPLE_SUPERVISED["E"] * times})
        for times in (0.99, 1.0, 1.01)
    ]
    sure = with_interval(found, drawn, 1e9, BEST_CASE)
    assert sure.low is not None
    assert sure.high is not None
    assert 1e21 <= sure.low < found.changes[0] < sure.high <= 1e24
    same = with_interval(found, [PLANNER] * 3, 1e9, BEST_CASE)
    assert (same.low, same.high) == pytest.approx((found.changes[0],) * 2, rel=0.05)
    assert with_interval(found, [], 1e9, BEST_CASE) == found
