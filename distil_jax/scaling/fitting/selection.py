"""Which law to trust: criteria of what is fitted, and predictions of runs that were held out."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from distil_jax.scaling.fitting.bootstrap import Sampled, bootstrap
from distil_jax.scaling.fitting.fit import Fit, fit
from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.runs import Runs
from distil_jax.scaling.laws.law import Law


@dataclass(frozen=True)
class Criteria:
    """Of Akaike, corrected for few runs, and of Bayes: the lower, the better."""

    aicc: float
    bic: float


def criteria(fitted: Fit) -> Criteria:
    """By Laplace's or Gauss's likelihood of the logarithmic residuals, whichever the loss is nearer
    to; their scale is one parameter more. Weights are relative."""
    runs, parameters = len(fitted.runs), len(fitted.point) + 1
    residuals, weights = fitted.residuals, fitted.runs.weights[fitted.runs.counted]
    if fitted.is_normal:
        variance = float(np.average(residuals**2, weights=weights))
        twice = runs * (np.log(2 * np.pi * variance) + 1)
    else:
        scale = float(np.average(np.abs(residuals), weights=weights))
        twice = 2 * runs * (np.log(2 * scale) + 1)
    more = 2 * parameters * (parameters + 1) / (runs - parameters - 1)
    aicc, bic = twice + 2 * parameters + more, twice + parameters * np.log(runs)
    return Criteria(float(aicc), float(bic))


@dataclass(frozen=True)
class HeldOut:
    """Runs that the fit did not see: errors are relative, predicted over observed less one.

    name: what was held out. fitted, tested: how many runs. coverage: the share of those tested that
    the 90 % interval of a run's loss covers; None where none was made.
    """

    name: str
    fitted: int
    tested: int
    mean_error: float
    worst_error: float
    bias: float
    coverage: float | None


Splits = Iterator[tuple[str, np.ndarray]]


def rollouts(
    by: str, column: np.ndarray, quantiles: tuple[float, ...] = (0.5, 0.7, 0.8, 0.9)
) -> Splits:
    """Masks [n] of the runs to fit: up to a quantile of a column. They are to predict the rest."""
    for quantile in quantiles:
        mask = column <= np.quantile(column, quantile)
        if not mask.all():
            yield f"{by} above its {quantile:g} quantile", mask


def weak_to_strong(loss: np.ndarray, quantiles: tuple[float, ...] = (0.3, 0.5)) -> Splits:
    """The same by loss, where the better runs are to be predicted."""
    for quantile in quantiles:
        mask = loss >= np.quantile(loss, quantile)
        if not mask.all():
            yield f"the best {quantile:.0%} by loss", mask


def leave_one_out(by: str, clusters: np.ndarray) -> Splits:
    """Each teacher, or the like, in turn."""
    for name in np.unique(clusters):
        yield f"{by} {name}", clusters != name


def held_out(
    law: Law,
    runs: Runs,
    splits: Splits,
    loss: FitLoss | None = None,
    most_starts: int | None = None,
    draws: int = 0,
) -> list[HeldOut]:
    """Fit each split's runs and predict the others; splits with too few runs are left out.

    draws: of a bootstrap, for intervals.
    """
    told = []
    for name, mask in splits:
        known, tested = runs.without(~mask), runs.where(~mask & runs.counted)
        if len(known) < 2 * len(law.coefficients) or not len(tested):
            continue
        found = fit(law, known, loss, most_starts)
        sampled = bootstrap(found, draws) if draws else None
        told.append(_compared(name, found, tested, sampled))
    return told


def _compared(name: str, found: Fit, tested: Runs, sampled: Sampled | None) -> HeldOut:
    errors = found.predict(tested.columns) / tested.loss - 1
    coverage = None
    if sampled is not None:
        low, high = sampled.prediction_interval(tested.columns)
        coverage = float(np.mean((low <= tested.loss) & (tested.loss <= high)))
    return HeldOut(
        name=name,
        fitted=len(found.runs),
        tested=len(tested),
        mean_error=float(np.mean(np.abs(errors))),
        worst_error=float(np.max(np.abs(errors))),
        bias=float(np.mean(errors)),
        coverage=coverage,
    )
