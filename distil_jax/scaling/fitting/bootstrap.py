"""How sure a fit is: the coefficients that other draws of the same runs would have given."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distil_jax.scaling.fitting.fit import Fit
from distil_jax.scaling.fitting.search import LEVEL, Found, search
from distil_jax.scaling.laws.distillation import SUPERVISED_LOSS

_MOST_STARTS = 3  # optima that each draw's search begins at
# Steps, rough or not. Where residuals are large for Huber's width, and coefficients many for the
# runs, second derivatives alone lead nowhere; elsewhere the first stage is the last.
_STAGES = (20, False), (60, True), (20, False)
_NO_RIVAL = 4  # standard errors that an optimum is behind the best one


@dataclass(frozen=True)
class Sampled:
    """A fit, and points [b, p] of its law: one for each draw of the runs, nan if that had none."""

    fit: Fit
    points: np.ndarray

    def coefficient(self, name: str) -> np.ndarray:
        """[b]"""
        number = self.fit.law.names.index(name)
        return self.fit.law.coefficients[number].from_search(self.points[:, number])

    def interval(self, name: str, confidence: float = 0.9) -> tuple[float, float]:
        """Of a coefficient: what so many of the draws lie in."""
        low, high = np.nanquantile(self.coefficient(name), _sides(confidence))
        return float(low), float(high)

    def predicted_log(
        self, columns: Mapping[str, float | np.ndarray], seed: int | None = None
    ) -> np.ndarray:
        """Logarithms of the loss [b, n] by each draw; by a seed, with the noise of a single run.

        The noise is that of the fitted runs, drawn anew for each number; it is a little wider than
        their residuals, by which the coefficients were chosen.
        """
        seen = self.fit.law.predict_log(self.points[:, None], _rows(columns))
        if seed is None:
            return seen
        runs, chosen = len(self.fit.runs), len(self.fit.law.coefficients)
        widened = self.fit.residuals * np.sqrt(runs / max(1, runs - chosen))
        return seen - np.random.default_rng(seed).choice(widened, seen.shape)

    def prediction_interval(
        self,
        columns: Mapping[str, float | np.ndarray],
        confidence: float = 0.9,
        seed: int | None = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Losses [n] below and above: of a run's loss; without a seed, of the law's own value."""
        low, high = np.nanquantile(self.predicted_log(columns, seed), _sides(confidence), axis=0)
        return np.exp(low), np.exp(high)


def bootstrap(
    fit: Fit,
    count: int = 1000,
    seed: int = 0,
    own: Mapping[str, np.ndarray] | None = None,
) -> Sampled:
    """Fit anew to `count` draws of the runs, cluster by cluster (Efron 1979).

    own: columns [count, n] of which each draw has its own, such as losses that another law, drawn
    with this one, predicts. Each search begins at the fit, and at optima that rival it.
    """
    runs, starts = fit.runs, rivals(fit)
    if not count:
        return Sampled(fit, np.empty((0, len(fit.point))))
    weights = runs.resampled_weights(count, np.random.default_rng(seed))
    columns = {**runs.columns, **(own or {})}
    repeated = {
        name: np.repeat(column, len(starts), axis=0) if column.ndim == 2 else column
        for name, column in columns.items()
    }
    found = _to_the_end(
        fit, repeated, np.tile(starts, (count, 1)), np.repeat(weights, len(starts), axis=0)
    )
    losses = found.losses.reshape(count, len(starts))
    points = found.points.reshape(count, len(starts), -1)
    rows = np.arange(count), np.argmin(losses, axis=1)
    # A draw without a law stays in its place: that of another law may belong to it.
    return Sampled(fit, np.where(np.isfinite(losses[rows])[:, None], points[rows], np.nan))


def _to_the_end(
    fit: Fit, columns: Mapping[str, np.ndarray], starts: np.ndarray, weights: np.ndarray
) -> Found:
    """From each of `starts` [k, p], with weights [k, n] and columns [n] or [k, n]."""
    ended = Found(starts.copy(), np.full(len(starts), np.inf), np.full(len(starts), np.inf))
    going = np.arange(len(starts))
    for steps, rough in _STAGES:
        own = {name: c[going] if c.ndim == 2 else c for name, c in columns.items()}
        given = fit.law, fit.loss, own, fit.runs.loss, ended.points[going], weights[going]
        for each, found in zip(ended, search(*given, steps=steps, rough=rough), strict=True):
            each[going] = found
        going = going[ended.slopes[going] > LEVEL]
        if not len(going):
            break
    return ended


def rivals(fit: Fit) -> np.ndarray:
    """[m, p]: the best optimum, and the next ones, as far as other runs may well put them first.

    By how far each is behind, run by run: summed by clusters, with the standard error of that sum.
    """
    optima, runs = fit.optima[:_MOST_STARTS], fit.runs
    residuals = fit.law.predict_log(optima[:, None], runs.columns) - np.log(runs.loss)
    losses = runs.weights * fit.loss.each(residuals)
    by_cluster = np.stack([np.bincount(runs.clusters, loss) for loss in losses - losses[0]])
    errors = np.sqrt((by_cluster**2).sum(axis=1))
    return optima[by_cluster.sum(axis=1) <= _NO_RIVAL * errors]


def bootstrap_both(
    supervised: Fit, distillation: Fit, count: int = 1000, seed: int = 0
) -> tuple[Sampled, Sampled]:
    """Of both laws together: each draw's distillation law is fitted to what its own supervised law
    says of the students (the paper takes the supervised law as known).

    Draws in which either law was not found are left out of both.
    """
    first = bootstrap(supervised, count, seed)
    said = np.exp(first.predicted_log(distillation.runs.columns))
    second = bootstrap(distillation, count, seed + 1, {SUPERVISED_LOSS: said})
    sound = np.isfinite(first.points).all(axis=1) & np.isfinite(second.points).all(axis=1)
    return Sampled(supervised, first.points[sound]), Sampled(distillation, second.points[sound])


def _rows(columns: Mapping[str, float | np.ndarray]) -> dict[str, np.ndarray]:
    """So that draws broadcast along the first side."""
    return {name: np.atleast_1d(np.asarray(column, float)) for name, column in columns.items()}


def _sides(confidence: float) -> tuple[float, float]:
    return (1 - confidence) / 2, (1 + confidence) / 2
