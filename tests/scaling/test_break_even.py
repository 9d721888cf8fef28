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
        print(f"\nbreak-even of {size:.0e}: {found.compute:.3g}", end="")
        assert found.better == "up to"
        assert found.compute is not None
        assert -0.01 < np.log10(found.compute / compute) < 0.1
    assert break_even(PLANNER, 1e9, BOTH, between=(1e20, 1e24)).better == "never"


def test_a_budget_below_gains_and_one_above_does_not():
    found = break_even(PLANNER, 1e9, BEST_CASE, between=(1e21, 1e25))
    assert found.compute is not None
    for times, gains in ((0.98, True), (1.02, False)):
        taught = PLANNER.best_loss(times * found.compute, 1e9, BEST_CASE)
        assert (taught < PLANNER.best_loss(times * found.compute, 1e9, None)) == gains
    bill = 3 * PLANNER.flops(1e9) * found.tokens
    assert bill == pytest.approx(found.compute)


def test_why_there_is_none():
    always = break_even(PLANNER, 1e9, BEST_CASE, between=(1e21, 1e22))
    assert (always.better, always.compute) == ("always", None)
    assert (always.lowest, always.highest) == pytest.approx((1e21, 1e22))
    none = PLANNER.limited(student_tokens=(1e11, 1e10))
    unknown = break_even(none, 1e9, BEST_CASE, between=(1e21, 1e22))
    assert unknown == BreakEven("best case", "not measured")
    late = break_even(PLANNER, 3e8, PRETRAINING, between=(1e21, 1e22))
    assert late.better == "from"


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
    assert found.compute is not None
    assert 1e21 <= sure.low < found.compute < sure.high <= 1e24
    same = with_interval(found, [PLANNER] * 3, 1e9, BEST_CASE)
    assert (same.low, same.high) == pytest.approx((found.compute, found.compute), rel=0.05)
    assert with_interval(found, [], 1e9, BEST_CASE) == found
    ends = [BreakEven("x", kind, lowest=1.0, highest=9.0) for kind in ("always", "never")]
    assert [each.changes_at("up to") for each in ends] == [9.0, 1.0]
    assert [each.changes_at("from") for each in ends] == [1.0, 9.0]
    assert BreakEven("x", "not measured").changes_at("from") is None
