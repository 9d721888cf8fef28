"""What charts of plans mark: the law's break, and what is beyond its runs."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from distil_jax.scaling.believed import Believed
from distil_jax.scaling.bill import BEST_CASE, BOTH
from distil_jax.scaling.charts.budgets import reached_by
from distil_jax.scaling.charts.figure import shade_beyond, shade_unreached
from distil_jax.scaling.charts.teachers import break_at, write_teachers

PUBLISHED = Believed.published()


def test_the_break_is_where_the_slope_is_halfway():
    """What a student lacks to its teacher falls as L_T^-c0 before it, as L_T^-(c0 + c1) after."""
    gentle = {**PUBLISHED.planner.distillation, "c1": 2.0}
    planner = replace(PUBLISHED.planner, distillation=gentle)
    turn = break_at(planner, 1e9, 1e11)
    assert turn == pytest.approx(1.315 * float(planner.supervised_loss(1e9, 1e11)))
    heard = turn * np.exp([-1e-3, 1e-3])
    lacking = planner.student_loss(1e9, 1e11, heard) - heard
    [slope] = np.diff(np.log(lacking)) / np.diff(np.log(heard))
    assert slope == pytest.approx(-gentle["c0"] - gentle["c1"] / 2, rel=1e-4)


def test_a_break_that_the_runs_do_not_tell_is_drawn_otherwise(tmp_path):
    for told in (True, False):
        believed = replace(PUBLISHED, tells_break=told)
        write_teachers(believed, believed.planner, 1e9, 1e11, tmp_path / f"{told}.png")
    assert (tmp_path / "True.png").read_bytes() != (tmp_path / "False.png").read_bytes()


def test_budgets_that_no_run_reaches():
    """Too small for as many tokens as the runs had, and too large to be spent within the limits."""
    planner, budgets = PUBLISHED.inside(1e9), np.array([1e18, 1e21, 1e25])
    choices = [planner.best(budget, 1e9, BOTH) for budget in budgets]
    assert reached_by(PUBLISHED, choices, budgets).tolist() == [False, True, False]
    free = [PUBLISHED.planner.best(budget, 1e9, BOTH) for budget in budgets]
    assert reached_by(PUBLISHED, free, budgets).tolist() == [False, True, False]


def test_a_sketch_of_a_plan_is_the_plan():
    """But for the name of a teacher that is free."""
    for scenario in (BOTH, BEST_CASE):
        found = PUBLISHED.planner.best(1e21, 1e9, scenario)
        unnamed = {"teacher_size": None, "teacher_tokens": None} if scenario.is_free else {}
        assert PUBLISHED.planner.sketch(1e21, 1e9, scenario) == replace(found, **unnamed)


def shaded(axes) -> list[tuple[float, float]]:
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]


def test_what_is_shaded():
    beyond, unreached = Figure().subplots(1, 2)
    beyond.set_xlim(1, 9)
    shade_beyond(beyond, 2, 10)
    assert shaded(beyond) == [(1, 2)]
    across = np.array([1.0, 100.0, 1e4, 1e6])
    shade_unreached(unreached, across, np.array([False, False, True, False]))
    np.testing.assert_allclose(shaded(unreached), [(1, 1e3), (1e5, 1e6)])
