"""Which coefficients the runs tell anything of: profiles of the likelihood.

A coefficient is held at a value, all others are fitted anew, and the loss is compared with the
best. Where it hardly rises over a wide range, the runs do not tell the coefficient, whatever its
bootstrap says: a search that begins at the optimum does not leave a flat valley.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from distil_jax.scaling.fitting.fit import Fit
from distil_jax.scaling.fitting.polish import Polisher
from distil_jax.scaling.fitting.search import search
from distil_jax.scaling.laws.law import Coefficient

# To each side, in units of the coefficient's search: logarithms, or shares of the value.
_SIDE = np.array([0.01, 0.02, 0.04, 0.07, 0.12, 0.2, 0.35, 0.6, 1.0, 1.7, 3.0, 5.0])
_OFFSETS = np.concatenate([-_SIDE[::-1], [0.0], _SIDE])
_FROM = 2  # optima that each search begins at
_STEPS = 60
_TOLD = 3.0  # an interval whose ends lie further apart than so many times is no knowledge


@dataclass(frozen=True)
class Profile:
    """Of one coefficient: values [m], ascending, and the likelihood's fall at each, as a chi2.

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
    """Of every coefficient, all searches at once."""
    held = _held(fit)
    optima, (count, offsets) = fit.optima[:_FROM], held.shape
    shape = (count, len(optima), offsets, count)
    starts = np.broadcast_to(optima[None, :, None], shape).copy()
    for number in range(count):
        starts[number, :, :, number] = held[number]
    fixed = np.broadcast_to(np.eye(count, dtype=bool)[:, None, None], shape)
    found = search(
        fit.law,
        fit.loss,
        fit.runs.columns,
        fit.runs.loss,
        starts.reshape(-1, count),
        fit.runs.weights,
        fixed.reshape(-1, count),
        steps=_STEPS,
    )
    losses = found.losses.reshape(shape[:-1]).min(axis=1)
    # With residuals of unknown scale, the likelihood of Gauss's or Laplace's distribution.
    times = len(fit.runs) * (1 if fit.is_normal else 2)
    deep = float(chi2.ppf(confidence, 1))
    losses = _along_the_valleys(fit, held, losses, float(np.exp(deep / times)))
    falls = times * np.log(losses / losses.min(axis=1, keepdims=True))
    return {
        coefficient.name: _profile(coefficient, held[number], falls[number], deep)
        for number, coefficient in enumerate(fit.law.coefficients)
    }


def _held(fit: Fit) -> np.ndarray:
    """Where each coefficient is held, as the search has it: [p, m]."""
    is_log = np.array([each.log for each in fit.law.coefficients])
    units = np.where(is_log, 1.0, np.maximum(np.abs(fit.point), 0.1))
    low, high = (side[:, None] for side in fit.law.bounds())
    return np.clip(fit.point[:, None] + units[:, None] * _OFFSETS, low, high)


def _along_the_valleys(fit: Fit, held: np.ndarray, losses: np.ndarray, deep: float) -> np.ndarray:
    """The losses [p, m], where they are less at the bottom of the valley that leads there.

    From the optimum to both sides, each time from where the step before ended, until the loss has
    risen to `deep` times the least.
    """
    losses, polish = losses.copy(), Polisher(fit.law, fit.loss, fit.runs)
    optimum = polish(fit.point)
    middle = len(_SIDE)
    losses[:, middle] = np.minimum(losses[:, middle], optimum.loss)
    for number, side in np.ndindex(len(held), 2):
        point = optimum.point
        for at in range(middle + 1, len(_OFFSETS)) if side else range(middle - 1, -1, -1):
            point = np.where(np.arange(len(held)) == number, held[number, at], point)
            point, loss, _ = polish(point, fixed=number)
            losses[number, at] = min(losses[number, at], loss)
            if losses[number, at] >= deep * losses.min():
                break
    return losses


def _profile(coefficient: Coefficient, held: np.ndarray, falls: np.ndarray, deep: float) -> Profile:
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
