"""What a fit minimises: a sum over runs of a function of log(predicted) - log(observed)."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from distil_jax.settings import Settings


class FitLoss(Settings):
    """huber: squares up to `delta`, absolute values beyond it (Hoffmann et al. 2022 take 1e-3).
    absolute: least absolute deviations. squares: least squares."""

    kind: Literal["huber", "absolute", "squares"] = "huber"
    delta: float = Field(default=1e-3, gt=0)
    # How many times heavier a run weighs that did better than predicted. Runs that were not tuned
    # well lie above what is possible: with 10 or so, the law is a bound from below.
    too_high: float = Field(default=1.0, ge=1)

    @property
    def width(self) -> float:
        """Below it residuals count by their squares. Nobody measures a loss to a millionth."""
        return self.delta if self.kind == "huber" else 1e-6

    def total(self, residuals: np.ndarray, weights: np.ndarray) -> float:
        """As the papers count it: of each residual r^2 / 2, or delta (|r| - delta / 2)."""
        unit = {"huber": self.delta, "absolute": 1.0, "squares": 1.0}[self.kind]
        return float(np.sum(weights * self.each(residuals)) * unit)

    def each(self, residuals: np.ndarray) -> np.ndarray:
        """Value of each, as scaled."""
        with jax.enable_x64(True):
            return np.asarray(self.scaled(jnp.asarray(residuals, jnp.float64))[0])

    def scaled(self, residuals: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Value, slope and curvature of each, times a number that makes the slope far away 1.

        Sums of squares of thousandths stop a search before its time (Besiroglu et al. 2024). The
        curvature is that of the parabola above the loss that touches it here: with it each step of
        least squares is one down the loss.
        """
        size, sides = jnp.abs(residuals), jnp.where(residuals > 0, self.too_high, 1.0)
        if self.kind == "squares":
            return sides * residuals**2 / 2, sides * residuals, sides
        value = _huber(residuals, self.width) / self.width
        slope = jnp.clip(residuals / self.width, -1.0, 1.0)
        return sides * value, sides * slope, sides / jnp.maximum(size, self.width)


def _huber(residuals: jax.Array, delta: float) -> jax.Array:
    size = jnp.abs(residuals)
    return jnp.where(size <= delta, residuals**2 / 2, delta * (size - delta / 2))
