"""A law fitted to runs: the best of many searches, and what the search itself says of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distil_jax.errors import UserError
from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.polish import polished
from distil_jax.scaling.fitting.runs import Runs
from distil_jax.scaling.fitting.search import LEVEL, Found, search
from distil_jax.scaling.laws.law import Law

_STEPS = 60
_STEPS_OF_MANY, _MANY = 20, 1000  # of many starts some are good after few steps
_SOME_RUNS = 200  # tell which way a search goes as well as all do
_KEPT, _STEPS_OF_KEPT = 12, 20  # searches that go on with all runs
_FINISHED = 6  # of these, go on by second derivatives; the last stretch is for `polished`
_ALIKE = 1e-4  # searches whose losses differ by less, relatively, go to one place, mostly
_NEAR = 1e-2  # the lowest loss: by so much above it, relatively
_SPARE = 3  # runs beyond the coefficients, without which no criterion of a fit is defined
_SAME = 1e-6  # optima whose losses differ by less, relatively, are one


@dataclass(frozen=True)
class Fit:
    """A law's coefficients, and how the search for them ended.

    point [p]: where the search has them. objective: the sum over runs that `FitLoss` describes.
    optima [m, p]: points of the distinct local optima that were finished, the best first.
    starts: searches begun; reached: those whose first stretch came near the lowest loss of all.
    slope: the greatest entry of the gradient near the end, of the scaled mean loss: 0
    at an optimum. condition: of the normal matrix of the logarithmic residuals, its columns scaled
    to one length: beyond 1e8 or so, coefficients trade off against each other; None where one of
    them changes nothing.
    """

    law: Law
    loss: FitLoss
    runs: Runs
    point: np.ndarray
    objective: float
    optima: np.ndarray
    starts: int
    reached: int
    slope: float
    condition: float | None

    @property
    def values(self) -> dict[str, float]:
        return self.law.named(self.point)

    def predict(self, columns: Mapping[str, float | np.ndarray]) -> np.ndarray:
        return np.exp(self.law.predict_log(self.point, columns))

    @property
    def is_normal(self) -> bool:
        """Whether the loss counts most residuals by their squares, as Gauss's distribution does;
        else by their sizes, as Laplace's."""
        if self.loss.kind != "huber":
            return self.loss.kind == "squares"
        return bool(np.median(np.abs(self.residuals)) < self.loss.delta)

    @property
    def residuals(self) -> np.ndarray:
        """log(predicted) - log(observed) of each run that counts."""
        seen = self.law.predict_log(self.point, self.runs.columns) - np.log(self.runs.loss)
        return seen[self.runs.counted]


def fewest_runs(law: Law) -> int:
    """That it can be fitted to."""
    return len(law.coefficients) + _SPARE


def fit(
    law: Law,
    runs: Runs,
    loss: FitLoss | None = None,
    most_starts: int | None = None,
    seed: int = 0,
) -> Fit:
    """Search from the law's grid of starts, or from `most_starts` of it drawn by `seed`.

    Raises UserError if there are hardly more runs than coefficients, or no start leads anywhere.
    """
    needed = fewest_runs(law)
    if len(runs) < needed:
        raise UserError(
            f"law {law.name!r} has {len(law.coefficients)} coefficients: got {len(runs)} runs, "
            f"expected {needed} at least, and better several times as many"
        )
    loss = loss or FitLoss()
    starts = law.starts(most_starts, seed)
    steps = _STEPS_OF_MANY if len(starts) > _MANY else _STEPS
    begun = _searched(law, loss, _some(runs), starts, steps, rough=True)
    kept = begun.different(_ALIKE).points[:_KEPT]
    found = _searched(law, loss, runs, kept, _STEPS_OF_KEPT, rough=True)
    kept = found.different(_ALIKE).points[:_FINISHED]
    ended = polished(law, loss, runs, _searched(law, loss, runs, kept, _STEPS_OF_KEPT))
    if not np.isfinite(ended.losses[0]):
        raise UserError(
            f"law {law.name!r}: from none of {len(starts)} starts was there a finite loss; are "
            f"{', '.join(law.inputs)} and the loss in the units that the law expects?"
        )
    best = ended.points[0]
    residuals = law.predict_log(best, runs.columns) - np.log(runs.loss)
    return Fit(
        law=law,
        loss=loss,
        runs=runs,
        point=best,
        objective=loss.total(residuals, runs.weights),
        optima=_optima(ended),
        starts=len(starts),
        reached=int(np.sum(begun.losses <= begun.losses[0] * (1 + _NEAR))),
        slope=float(ended.slopes[0]),
        condition=_condition(law, runs, best),
    )


def _searched(
    law: Law, loss: FitLoss, runs: Runs, starts: np.ndarray, steps: int, rough: bool = False
) -> Found:
    """The best first."""
    given = law, loss, runs.columns, runs.loss, starts, runs.weights
    return search(*given, steps=steps, rough=rough).best_first()


def _some(runs: Runs) -> Runs:
    """So many of those that count; of no more, all as they are."""
    if len(runs) <= _SOME_RUNS:
        return runs
    counted = np.flatnonzero(runs.counted)
    return runs.where(np.random.default_rng(0).permutation(counted)[:_SOME_RUNS])


def _optima(ended: Found) -> np.ndarray:
    """One point of each loss: the best one, and those of optima."""
    level = np.isfinite(ended.losses) & (ended.slopes < LEVEL)
    level[0] = True
    return Found(*(each[level] for each in ended)).different(_SAME).points


def _condition(law: Law, runs: Runs, point: np.ndarray) -> float | None:
    """By differences: a hundred-thousandth to each side of every coefficient."""
    step = 1e-5
    moved = point + step * np.concatenate([np.eye(len(point)), -np.eye(len(point))])
    seen = law.predict_log(moved[:, None], runs.columns)
    jacobian = (seen[: len(point)] - seen[len(point) :]).T[runs.counted] / (2 * step)
    lengths = np.linalg.norm(jacobian, axis=0)
    if not np.all(lengths > 0):
        return None
    squared = float(np.linalg.cond(jacobian / lengths)) ** 2
    return squared if np.isfinite(squared) else None
