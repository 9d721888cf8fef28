"""Which runs to make next: the choice against the plain formula."""

import numpy as np
import pytest

from distil_jax.scaling.next_runs import most_telling


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
