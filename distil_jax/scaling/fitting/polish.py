"""The last stretch of a search, where damped Newton steps are slow.

Where most residuals are larger than Huber's width the loss is nearly a sum of absolute values: its
second derivative knows of few runs, and hundreds of steps gain next to nothing. Sequential least
squares (Kraft 1988), which gathers its own, gets to the bottom from there, also along a valley.
p coefficients.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.runs import Runs
from distil_jax.scaling.fitting.search import Found, mean_loss
from distil_jax.scaling.laws.law import Law

_MOST = 8  # searches, the best ones
_STEPS = 2000
_AT_REST = 1e-9  # a slope below it


class Place(NamedTuple):
    """A point [p], the loss there and the greatest entry of its gradient, as in `Found`."""

    point: np.ndarray
    loss: float
    slope: float


class Polisher:
    """Goes from points of a law downhill to the bottom, one after the other."""

    def __init__(self, law: Law, loss: FitLoss, runs: Runs):
        self._bounds = law.bounds()
        with jax.enable_x64(True):
            columns = {name: jnp.asarray(runs.columns[name], float) for name in law.inputs}
            rest = columns, jnp.log(jnp.asarray(runs.loss)), jnp.asarray(runs.weights)
        self._value_and_gradient = partial(_value_and_gradient, law, loss, *rest)

    def __call__(self, point: np.ndarray, fixed: int | None = None) -> Place:
        """fixed: number of a coefficient that stays as it is."""
        low, high = (side.copy() for side in self._bounds)
        if fixed is not None:
            low[fixed] = high[fixed] = point[fixed]
        ended = minimize(
            self._at,
            point,
            jac=True,
            method="SLSQP",
            bounds=list(zip(low, high, strict=True)),
            options={"maxiter": _STEPS, "ftol": 1e-16},
        )
        point = np.clip(ended.x, low, high)
        value, gradient = self._at(point)
        stuck = ((point <= low) & (gradient > 0)) | ((point >= high) & (gradient < 0))
        return Place(point, value, float(np.max(np.abs(np.where(stuck, 0.0, gradient)))))

    def _at(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        with jax.enable_x64(True):
            value, gradient = self._value_and_gradient(jnp.asarray(point))
            return float(value), np.asarray(gradient)


def polished(law: Law, loss: FitLoss, runs: Runs, found: Found) -> Found:
    """Searches, the best first, of which the best that are not at rest went on to the bottom."""
    points, losses, slopes = (each.copy() for each in found)
    polish = Polisher(law, loss, runs)
    for number in np.flatnonzero(np.isfinite(losses[:_MOST]) & (slopes[:_MOST] > _AT_REST)):
        place = polish(points[number])
        if place.loss < losses[number]:
            points[number], losses[number], slopes[number] = place
    return Found(points, losses, slopes).best_first()


@partial(jax.jit, static_argnums=(0, 1))
def _value_and_gradient(law: Law, loss: FitLoss, *given: Any) -> Any:
    *rest, point = given
    return jax.value_and_grad(lambda point: mean_loss(law, loss, point, *rest))(point)
