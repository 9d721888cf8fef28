"""The distillation law fitted to runs drawn from the published one (the spec's A9)."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from distil_jax.scaling.fitting.bootstrap import bootstrap, bootstrap_both
from distil_jax.scaling.fitting.fit import Fit, fit
from distil_jax.scaling.fitting.held_out import held_out_of_both
from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.polish import mean_loss
from distil_jax.scaling.fitting.profile import profiles
from distil_jax.scaling.fitting.splits import weak_to_strong
from distil_jax.scaling.laws import DISTILLATION, GAMMA
from distil_jax.scaling.laws.distillation import SUPERVISED_LOSS
from tests.made_up_runs import distillation_runs, supervised_runs

# On one worker, which fits the runs once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("distillation law")]
LOSS = FitLoss(delta=1e-4)
STARTS = 64


@pytest.fixture(scope="module")
def drawn():
    return distillation_runs()


@pytest.fixture(scope="module")
def fitted(drawn) -> Fit:
    return fit(DISTILLATION, drawn[0], LOSS, most_starts=STARTS)


def mean_error(found: Fit, true: np.ndarray) -> np.ndarray:
    return np.abs(found.predict(found.runs.columns) / true - 1)


def test_it_predicts_the_law_that_the_runs_are_of(drawn, fitted):
    runs, true = drawn
    at_truth = LOSS.total(np.log(true) - np.log(runs.loss), runs.weights)
    error = mean_error(fitted, true).mean()
    print(f"\nA9: objective {fitted.objective:.6g}, at the truth {at_truth:.6g}; error {error:.4%}")
    assert fitted.objective <= at_truth
    assert error <= 5e-4


def test_no_other_search_gets_lower(fitted):
    """SciPy's L-BFGS-B from the first of the starts, patiently."""
    law, (low, high) = fitted.law, fitted.law.bounds()
    columns = {name: jnp.asarray(fitted.runs.columns[name]) for name in law.inputs}
    with jax.enable_x64(True):
        rest = columns, jnp.log(fitted.runs.loss), jnp.asarray(fitted.runs.weights)
        value = jax.jit(jax.value_and_grad(lambda point: mean_loss(law, LOSS, point, *rest)))
        ends = [
            minimize(
                lambda point: [np.asarray(each, float) for each in value(point)],
                np.clip(start, low, high),
                jac=True,
                method="L-BFGS-B",
                bounds=list(zip(low, high, strict=True)),
                options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 10_000, "maxfun": 100_000},
            )
            for start in law.starts()[:: len(law.starts()) // 32]
        ]
        ours = float(value(fitted.point)[0])
    theirs = min(float(each.fun) for each in ends)
    print(f"\nmean loss: {ours:.9g}, of L-BFGS-B from {len(ends)} starts {theirs:.9g}")
    assert ours <= theirs * (1 + 1e-6)


def test_weak_students_tell_of_strong_ones(drawn):
    runs, true = drawn
    strong = true <= 2.3
    found = fit(DISTILLATION, runs.without(strong), LOSS, most_starts=STARTS)
    beyond = mean_error(found, true)[strong].mean()
    print(f"\nA9: {strong.sum()} runs of a loss up to 2.3 predicted from the others: {beyond:.3%}")
    assert beyond <= 4e-3


def test_what_the_runs_do_not_tell_is_named(fitted):
    untold = {name for name, each in profiles(fitted).items() if not each.is_told}
    print(f"\nA9: not told by 697 runs: {sorted(untold)}")
    assert {"c1", "B"} <= untold


def test_without_noise_the_law_itself_is_found():
    runs, true = distillation_runs(seed=None)
    found = fit(DISTILLATION, runs, LOSS, most_starts=128)
    assert mean_error(found, true).max() <= 1e-4


def test_both_laws_are_drawn_together():
    """Each draw's students are held to what its own supervised law says of them."""
    runs, _ = distillation_runs(count=200)
    alone, _ = supervised_runs()
    supervised = fit(GAMMA, alone, LOSS, most_starts=STARTS)
    said = supervised.predict(runs.columns)
    found = fit(DISTILLATION, runs.with_column(SUPERVISED_LOSS, said), LOSS, most_starts=STARTS)
    first, second = bootstrap_both(supervised, found, 20)
    known = bootstrap(found, 20, seed=1)
    assert len(first.points) == len(second.points) == 20
    assert np.isfinite(second.points).all()
    assert np.std(first.predicted_log(runs.columns), axis=0).min() > 0
    assert not np.allclose(known.points, second.points)


def test_neither_law_sees_what_is_held_out():
    """Whatever became of the stronger half of all runs, it is predicted the same."""
    alone, (students, _) = supervised_runs()[0], distillation_runs(count=80)
    [(name, mask)] = weak_to_strong(np.concatenate([alone.loss, students.loss]), (0.5,))
    splits = [(name, mask)]
    masks = np.split(mask, [len(alone.loss)])
    told = held_out_of_both(GAMMA, alone, students, splits, LOSS, STARTS, draws=10)
    changed = [
        replace(runs, loss=np.where(weak, runs.loss, 3 * runs.loss))
        for runs, weak in zip((alone, students), masks, strict=True)
    ]
    again = held_out_of_both(GAMMA, changed[0], changed[1], splits, LOSS, STARTS, draws=10)
    for [first], [second], weak in zip(told, again, masks, strict=True):
        assert (first.fitted, first.tested) == (weak.sum(), (~weak).sum())
        assert first.predicted == second.predicted
        assert first.intervals == second.intervals
        assert first.mean_error < 0.03
        assert (first.coverage or 0.0) > 0.4
        assert second.coverage == 0.0


@pytest.mark.very_slow
def test_intervals_cover_what_they_say():
    """A9: of 50 draws of the runs, how many new runs lie in the 90 % intervals."""
    covered = []
    for seed in range(50):
        runs, _ = distillation_runs(seed=seed)
        found = fit(DISTILLATION, runs, LOSS, most_starts=STARTS)
        low, high = bootstrap(found, 100, seed).prediction_interval(runs.columns, seed=seed)
        other, _ = distillation_runs(seed=1000 + seed)
        covered.append(np.mean((low <= other.loss) & (other.loss <= high)))
    print(f"\nA9: coverage of 90 % intervals over 50 draws: {np.mean(covered):.3f}")
    assert 0.85 <= np.mean(covered) <= 0.95
