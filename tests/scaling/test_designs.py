"""Which runs to make next: the paper's designs, and a choice against the plain formula."""

import numpy as np
import pytest

from distil_jax.scaling.designs import (
    Run,
    equal_compute,
    fixed_ratios,
    most_telling,
    students_of_equal_compute,
    teachers_of_equal_compute,
)
from distil_jax.scaling.language_models import APPLE


def test_runs_of_equal_compute_take_it():
    pairs = equal_compute((1e8, 1e9, 1e10), (1e20, 1e21), APPLE.forward_flops, (5, 500))
    assert all(5 <= tokens / size <= 500 for size, tokens in pairs)
    spent = [3 * APPLE.forward_flops(size) * tokens for size, tokens in pairs]
    assert {f"{each:.3g}" for each in spent} == {"1e+20", "1e+21"}


def test_presets():
    assert students_of_equal_compute([1e9], [(1e8, 2e9)]) == [Run(1e8, 2e9, 1e9, 2e10)]
    assert teachers_of_equal_compute([1e8], [(1e9, 5e9)]) == [Run(1e8, 2e9, 1e9, 5e9)]
    runs = fixed_ratios([1e9, 2e9], [1e8], (20, 40))
    assert [(run.teacher_size, run.tokens) for run in runs] == [
        (1e9, 2e9),
        (1e9, 4e9),
        (2e9, 2e9),
        (2e9, 4e9),
    ]


@pytest.fixture
def drawn():
    """A number, and candidates of which the second measures it and the third half of it."""
    rng = np.random.default_rng(0)
    asked, other = rng.standard_normal((2, 4000)) * 0.02
    seen = np.column_stack([other, asked, (asked + other) / 2, rng.standard_normal(4000) * 0.02])
    return asked, seen


def test_the_run_that_measures_the_question_is_chosen(drawn):
    asked, seen = drawn
    costs = np.ones(4)
    [(first, spread)] = most_telling(asked, seen, 0.01, costs, budget=1.5)
    assert first == 1
    known = 1 / (1 / np.var(asked) + 1 / 0.01**2)  # Bayes for one normal measurement
    assert spread == pytest.approx(np.sqrt(known), rel=1e-2)


def test_spreads_are_those_of_conditioning_on_all_at_once(drawn):
    asked, seen = drawn
    chosen = most_telling(asked, seen, 0.01, np.ones(4), budget=3)
    rows = [number for number, _ in chosen]
    assert rows[:2] == [1, 0] or rows[:2] == [1, 2]
    spread = np.cov(np.column_stack([asked, seen[:, rows]]), rowvar=False)
    told = spread[1:, 1:] + 0.01**2 * np.eye(len(rows))
    left = spread[0, 0] - spread[0, 1:] @ np.linalg.solve(told, spread[1:, 0])
    assert chosen[-1][1] == pytest.approx(np.sqrt(left), rel=1e-6)


def test_what_costs_less_is_worth_more(drawn):
    asked, seen = drawn
    costs = np.array([1.0, 20.0, 1.0, 1.0])
    chosen = most_telling(asked, seen, 0.01, costs, budget=21)
    assert chosen[0][0] == 2
    assert sum(costs[number] for number, _ in chosen) <= 21
    assert len({number for number, _ in chosen}) == len(chosen)
    assert most_telling(asked, seen, 0.01, costs, budget=0.5) == []
