"""The last stretch of a fit, along products of coefficients; fits to some of the runs first."""

from dataclasses import replace

import numpy as np
import pytest

from distil_jax.scaling.fitting import bootstrap, fit
from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.polish import Polisher
from distil_jax.scaling.fitting.products import Products
from distil_jax.scaling.fitting.search import search
from distil_jax.scaling.laws import CHINCHILLA, DISTILLATION, GAMMA
from distil_jax.scaling.laws.published import APPLE_SUPERVISED
from tests.made_up_runs import distillation_runs, supervised_runs


@pytest.fixture(scope="module")
def runs():
    return supervised_runs()[0]


@pytest.fixture(scope="module")
def polisher(runs):
    return Polisher(GAMMA, FitLoss(), runs)


def in_the_valley(shift: float) -> np.ndarray:
    """With gamma larger, and what it multiplies as much smaller."""
    point = GAMMA.point(APPLE_SUPERVISED)
    within = [GAMMA.names.index(name) for name in ("A", "B", "alpha", "beta")]
    point[GAMMA.names.index("gamma")] *= shift
    point[within] /= shift
    return point


@pytest.mark.parametrize("fixed", [None, "gamma", "alpha", "E"])
def test_the_gradient_by_products_is_that_of_differences(polisher, fixed):
    number = None if fixed is None else GAMMA.names.index(fixed)
    mask = np.arange(len(GAMMA.names)) == number
    coordinates, point = Products.of(GAMMA, mask), in_the_valley(1.2)
    place = coordinates.multiplied(point)
    np.testing.assert_allclose(coordinates.divided(place), point, rtol=1e-14)

    def value(place: np.ndarray) -> float:
        return polisher.at(coordinates.divided(place))[0]

    _, slopes = polisher.at(point)
    found = coordinates.gradient(point, slopes)
    steps = 1e-6 * np.eye(len(place))
    plain = [(value(place + step) - value(place - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-5)


def test_the_bottom_is_one_from_all_along_a_valley(polisher):
    ends = [polisher(in_the_valley(shift)) for shift in (0.5, 0.8, 1.2, 2.0)]
    losses = [end.loss for end in ends]
    np.testing.assert_allclose(losses, min(losses), rtol=1e-7)
    assert max(end.slope for end in ends) < 1e-5


def test_what_is_fixed_stays_and_bounds_hold(polisher):
    low, high = GAMMA.bounds()
    for number, name in enumerate(GAMMA.names):
        start = in_the_valley(1.1)
        ended = polisher(start, fixed=number)
        assert ended.point[number] == pytest.approx(start[number], rel=1e-9), name
        assert np.all((low <= ended.point) & (ended.point <= high))
        assert ended.loss <= polisher.at(start)[0]


def test_some_of_the_runs_tell_where_all_lead(monkeypatch):
    """Of 697 runs 200 are searched first: the fit is as good as by all from the first step on."""
    runs, loss = distillation_runs()[0], FitLoss(delta=1e-4)
    by_some = fit.fit(DISTILLATION, runs, loss, most_starts=32)
    monkeypatch.setattr(fit, "_SOME_RUNS", 10_000)
    by_all = fit.fit(DISTILLATION, runs, loss, most_starts=32)
    assert by_some.objective <= by_all.objective * (1 + 1e-6)


def test_draws_end_near_the_bottom():
    """Few runs for many coefficients, large residuals: each draw's search has a valley to go."""
    few, loss = distillation_runs(None, count=45)[0], FitLoss(delta=1e-4)
    noise = np.random.default_rng(1).normal(0, 0.05, len(few))
    runs = replace(few, loss=few.loss * np.exp(noise))
    fitted = fit.fit(DISTILLATION, runs, loss, most_starts=64)
    sampled = bootstrap.bootstrap(fitted, 100)
    weights = runs.resampled_weights(100, np.random.default_rng(0))

    def go_on(steps: int) -> np.ndarray:
        given = DISTILLATION, loss, runs.columns, runs.loss, sampled.points, weights
        return search(*given, steps=steps, rough=True).losses

    ended, longer = go_on(1), go_on(300)
    assert np.median(1 - longer / ended) < 0.005


def test_a_law_without_a_power_is_searched_as_it_is():
    coordinates = Products.of(CHINCHILLA, np.zeros(5, bool))
    point = CHINCHILLA.starts()[7]
    assert np.array_equal(coordinates.multiplied(point), point)
    assert "constraints" not in coordinates.limits(*CHINCHILLA.bounds())
