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


def test_a_run_that_tells_next_to_nothing_is_not_named():
    """However cheap: each must lessen what is left of the spread by 1 %."""
    rng = np.random.default_rng(1)
    asked, *others = rng.standard_normal((3, 4000)) * 0.02
    shares = np.array([0.05, 0.5])  # of which the first lessens it by 0.1 %
    seen = asked[:, None] * shares + np.transpose(others) * np.sqrt(1 - shares**2)
    assert [n for n, _ in most_telling(asked, seen, 1e-4, np.array([1e-6, 1.0]), 2)] == [1]
