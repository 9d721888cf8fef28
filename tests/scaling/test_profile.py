"""Profiles of the likelihood keep to their valleys: nothing lies lower than they say."""

import numpy as np
import pytest
from scipy.optimize import minimize

from distil_jax.scaling.fitting.bootstrap import bootstrap
from distil_jax.scaling.fitting.fit import Fit, fit
from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.polish import Polisher
from distil_jax.scaling.fitting.profile import falls, profiles, ways
from distil_jax.scaling.fitting.way import Way
from distil_jax.scaling.laws import DISTILLATION, GAMMA
from tests.made_up_runs import distillation_runs, supervised_runs

pytestmark = pytest.mark.xdist_group("profiles")  # on one worker, which makes them once
DEEP = 2.7
LOSS = FitLoss(delta=1e-4)


@pytest.fixture(scope="module")
def students() -> Fit:
    return fit(DISTILLATION, distillation_runs(2, count=150)[0], LOSS, most_starts=16)


@pytest.fixture(scope="module")
def found(students) -> list[Way]:
    return ways(students, DEEP)


def contradictions(fitted: Fit, found: list[Way], points: np.ndarray, fall: np.ndarray) -> list:
    """Where a point lies lower than a profile does at both held values beside the point's."""
    told = []
    for way in found:
        name = fitted.law.names[way.number]
        above = np.clip(np.searchsorted(way.held, points[:, way.number]), 1, len(way) - 1)
        said = falls(fitted, way.losses)
        lower = fall < np.minimum(said[above - 1], said[above]) - 0.1
        inside = (way.held[0] < points[:, way.number]) & (points[:, way.number] < way.held[-1])
        told += [(name, points[at, way.number], fall[at]) for at in np.flatnonzero(lower & inside)]
    return told


def assert_they_agree(fitted: Fit, found: list[Way]) -> None:
    points = np.concatenate([way.points for way in found])
    fall = np.concatenate([falls(fitted, way.losses) for way in found])
    near = fall < DEEP
    assert not contradictions(fitted, found, points[near], fall[near])


def test_profiles_agree_with_each_other():
    fitted = fit(GAMMA, supervised_runs()[0], most_starts=16)
    assert_they_agree(fitted, ways(fitted, DEEP))


@pytest.mark.slow
def test_profiles_along_steep_valleys_agree(students, found):
    assert_they_agree(students, found)


@pytest.mark.slow
def test_no_draw_leads_lower(students, found):
    """Of a bootstrap, each held at its own value of a coefficient and fitted to the runs again."""
    polish = Polisher(DISTILLATION, LOSS, students.runs)
    draws, best = bootstrap(students, 20).points, min(way.losses.min() for way in found)
    for name in ("c1", "f1", "d1", "gamma"):
        way = found[DISTILLATION.names.index(name)]
        ends = [polish(draw, fixed=way.number) for draw in draws]
        fall = falls(students, np.array([best, *(end.loss for end in ends)]))[1:]
        points, near = np.array([end.point for end in ends]), fall < DEEP
        assert near.any()
        assert not contradictions(students, [way], points[near], fall[near])


@pytest.mark.slow
def test_a_steep_valley_is_followed_to_its_end(students):
    """Beyond the break, c1 and d1 trade off as c1 = d1^(1/f1): a tenth more of d1 takes thrice the
    c1, and a search that begins beside that ends elsewhere."""
    number, scale = (DISTILLATION.names.index(name) for name in ("d1", "c1"))
    profile = profiles(students)["d1"]
    optimum = students.values
    beyond = (profile.values > optimum["d1"]) & (profile.values < 2.0)
    starts = np.repeat(students.point[None], beyond.sum(), axis=0)
    starts[:, number] = np.log(profile.values[beyond])
    starts[:, scale] += (starts[:, number] - students.point[number]) / optimum["f1"]
    ends = [by_lbfgs(students, each, number) for each in (students.point, *starts)]
    true = falls(students, np.array(ends))[1:]
    print(f"\nfalls of d1's profile {profile.falls[beyond]}, by L-BFGS-B {true}")
    assert np.all(profile.falls[beyond] <= true + 0.1)
    assert profile.high is None or profile.high > 2.0


def by_lbfgs(fitted: Fit, start: np.ndarray, number: int) -> float:
    low, high = (side.copy() for side in fitted.law.bounds())
    low[number] = high[number] = start[number]
    found = minimize(
        Polisher(fitted.law, LOSS, fitted.runs).at,
        np.clip(start, low, high),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(low, high, strict=True)),
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000, "maxfun": 20_000},
    )
    return float(found.fun)
