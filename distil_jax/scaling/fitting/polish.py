"""The last stretch of a search, where damped Newton steps are slow.

Where most residuals are larger than Huber's width the loss is nearly a sum of absolute values: its
second derivative knows of few runs, and hundreds of steps gain next to nothing. Sequential least
squares (Kraft 1988), which gathers its own, gets to the bottom from there, also along a valley, in
coordinates in which that is straight (products.py). p coefficients.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.products import Products
from distil_jax.scaling.fitting.runs import Runs
from distil_jax.scaling.fitting.search import Found
from distil_jax.scaling.laws.law import Law

_MOST = 2  # searches, the best ones
_STEPS = 2000
_AT_REST = 1e-9  # a slope below it


class Place(NamedTuple):
    """A point [p], the loss there and the greatest entry of its gradient, as in `Found`."""

    point: np.ndarray
    loss: float
    slope: float


class Polisher:
    """Goes from a point of a law downhill to the bottom."""

    def __init__(self, law: Law, loss: FitLoss, runs: Runs):
        self._law = law
        with jax.enable_x64(True):
            columns = {name: jnp.asarray(runs.columns[name], float) for name in law.inputs}
            rest = columns, jnp.log(jnp.asarray(runs.loss)), jnp.asarray(runs.weights)
        self._value_and_gradient = partial(_value_and_gradient, law, loss, *rest)

    def __call__(self, point: np.ndarray, fixed: int | None = None) -> Place:
        """fixed: number of a coefficient that stays as it is."""
        low, high = (side.copy() for side in self._law.bounds())
        if fixed is not None:
            low[fixed] = high[fixed] = point[fixed]
        coordinates = Products.of(self._law, np.arange(len(low)) == fixed)

        def value_and_gradient(place: np.ndarray) -> tuple[float, np.ndarray]:
            point = coordinates.divided(place)
            value, gradient = self.at(point)
            return value, coordinates.gradient(point, gradient)

        ended = minimize(
            value_and_gradient,
            coordinates.multiplied(point),
            jac=True,
            method="SLSQP",
            options={"maxiter": _STEPS, "ftol": 1e-16},
            **coordinates.limits(low, high),
        )
        point = np.clip(coordinates.divided(ended.x), low, high)
        value, gradient = self.at(point)
        stuck = ((point <= low) & (gradient > 0)) | ((point >= high) & (gradient < 0))
        return Place(point, value, float(np.max(np.abs(np.where(stuck, 0.0, gradient)))))

    def at(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss and gradient [p]."""
        with jax.enable_x64(True):
            value, *gradient = np.asarray(self._value_and_gradient(point))
        return float(value), np.array(gradient)


def polished(law: Law, loss: FitLoss, runs: Runs, found: Found) -> Found:
    """Searches, the best first, of which the best that are not at rest went on to the bottom."""
    points, losses, slopes = (each.copy() for each in found)
    polish = Polisher(law, loss, runs)
    moving = np.flatnonzero(np.isfinite(losses[:_MOST]) & (slopes[:_MOST] > _AT_REST))
    for number in moving:  # one by one: most of it is Python, which threads only delay
        place = polish(points[number])
        if place.loss < losses[number]:
            points[number], losses[number], slopes[number] = place
    return Found(points, losses, slopes).best_first()


@partial(jax.jit, static_argnums=(0, 1))
def _value_and_gradient(law: Law, loss: FitLoss, *given: Any) -> jax.Array:
    """In one array [1 + p]: each that is fetched takes its time."""
    *rest, point = given
    value, gradient = jax.value_and_grad(partial(mean_loss, law, loss))(point, *rest)
    return jnp.concatenate([value[None], gradient])


def mean_loss(
    law: Law,
    loss: FitLoss,
    point: jax.Array,
    columns: Mapping[str, jax.Array],
    observed: jax.Array,
    weights: jax.Array,
) -> jax.Array:
    """What a search lessens, at a point [p]. observed [n]: logarithms of losses; weights [n]."""
    residuals = law.log_loss(law.values(point), columns) - observed
    found = jnp.sum(weights * loss.scaled(residuals)[0]) / weights.sum()
    return jnp.where(jnp.isfinite(found), found, jnp.inf)
