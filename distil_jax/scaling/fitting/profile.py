"""Which coefficients the runs tell anything of: profiles of the likelihood.

A coefficient is held at a value, all others are fitted anew, and the loss is compared with the
best. Where it hardly rises over a wide range, the runs do not tell the coefficient, whatever its
bootstrap says: a search that begins at the optimum does not leave a flat valley.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from distil_jax.scaling.fitting.fit import Fit
from distil_jax.scaling.fitting.search import search
from distil_jax.scaling.fitting.valleys import Valleys
from distil_jax.scaling.fitting.way import Way
from distil_jax.scaling.laws.law import Coefficient

# To each side, in units of the coefficient's search: logarithms, or shares of the value.
_SIDE = np.array([0.01, 0.02, 0.04, 0.07, 0.12, 0.2, 0.35, 0.6, 1.0, 1.7, 3.0, 5.0])
_OFFSETS = np.concatenate([-_SIDE[::-1], [0.0], _SIDE])
_FROM = 2  # optima that each search begins at
_STEPS = 60
_LITTLE = 0.01  # a fall of the likelihood that nobody sees
_TOLD = 3.0  # an interval whose ends lie further apart than so many times is no knowledge


@dataclass(frozen=True)
class Profile:
    """Of one coefficient: values [m], ascending, and the likelihood's fall at each, as a chi2:
    beyond the interval it may be less than said.

    low, high: the interval of the asked confidence; None where the fall never gets that deep.
    """

    name: str
    values: np.ndarray
    falls: np.ndarray
    low: float | None
    high: float | None

    @property
    def is_told(self) -> bool:
        """Whether the runs bound the coefficient to both sides, and not by orders of magnitude."""
        if self.low is None or self.high is None:
            return False
        near, far = sorted((abs(self.low), abs(self.high)))
        return self.low * self.high > 0 and far <= _TOLD * near

    @property
    def points(self) -> list[tuple[float, float]]:
        """(value, fall), without those that no file can hold."""
        points = np.column_stack([self.values, self.falls])
        return [(float(x), float(y)) for x, y in points[np.isfinite(points).all(axis=1)]]


def profiles(fit: Fit, confidence: float = 0.9) -> dict[str, Profile]:
    """Of every coefficient."""
    deep = float(chi2.ppf(confidence, 1))
    return {
        coefficient.name: _profile(coefficient, way, falls(fit, way.losses), deep)
        for coefficient, way in zip(fit.law.coefficients, ways(fit, deep), strict=True)
    }


def ways(fit: Fit, deep: float) -> list[Way]:
    """Of every coefficient, the points of its profile: the lowest ones where the likelihood falls
    by less than `deep`, beyond it any that a search came to."""
    held, times = _held(fit), _times(fit)
    valleys = Valleys(fit, held, float(np.exp(deep / times)), _LITTLE / times)
    valleys.from_optimum(fit.point, len(_SIDE))
    valleys.from_points(*_searched(fit, held))
    valleys.settle()
    return valleys.ways


def falls(fit: Fit, losses: np.ndarray) -> np.ndarray:
    """Of the likelihood from the least of losses to each, as a chi2."""
    return _times(fit) * np.log(losses / losses.min())


def _times(fit: Fit) -> int:
    """By the likelihood of Gauss's or Laplace's distribution of residuals of unknown scale."""
    return len(fit.runs) * (1 if fit.is_normal else 2)


def _held(fit: Fit) -> np.ndarray:
    """Where each coefficient is held, as the search has it: [p, m]."""
    is_log = np.array([each.log for each in fit.law.coefficients])
    units = np.where(is_log, 1.0, np.maximum(np.abs(fit.point), 0.1))
    low, high = (side[:, None] for side in fit.law.bounds())
    return np.clip(fit.point[:, None] + units[:, None] * _OFFSETS, low, high)


def _searched(fit: Fit, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each value the best of some searches from the optima, all at once: points [p, m, p] and
    losses [p, m]."""
    optima, (count, offsets) = fit.optima[:_FROM], held.shape
    shape = (len(optima), count, offsets, count)
    starts = np.broadcast_to(optima[:, None, None], shape).copy()
    for number in range(count):
        starts[:, number, :, number] = held[number]
    fixed = np.broadcast_to(np.eye(count, dtype=bool)[:, None], shape)
    given = fit.law, fit.loss, fit.runs.columns, fit.runs.loss
    each = starts.reshape(-1, count), fit.runs.weights, fixed.reshape(-1, count)
    found = search(*given, *each, steps=_STEPS)
    losses = found.losses.reshape(shape[:-1])
    best = np.argmin(losses, axis=0)[None]
    points = np.take_along_axis(found.points.reshape(shape), best[..., None], axis=0)
    return points[0], np.take_along_axis(losses, best, axis=0)[0]


def _profile(coefficient: Coefficient, way: Way, falls: np.ndarray, deep: float) -> Profile:
    held = way.held
    middle = int(np.argmin(falls))

    def crossing(held: np.ndarray, falls: np.ndarray) -> float | None:
        """Where the fall first gets too deep, from the lowest on: its root is about linear."""
        beyond = np.flatnonzero(falls >= deep)
        if not len(beyond):
            return None
        upto = slice(beyond[0] - 1, beyond[0] + 1)
        at = np.interp(np.sqrt(deep), np.sqrt(np.maximum(falls[upto], 0.0)), held[upto])
        return float(coefficient.from_search(at))

    return Profile(
        name=coefficient.name,
        values=coefficient.from_search(held),
        falls=falls,
        low=crossing(held[middle::-1], falls[middle::-1]),
        high=crossing(held[middle:], falls[middle:]),
    )
