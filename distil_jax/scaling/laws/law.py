"""What a scaling law is: a formula for a loss, and the coefficients that a fit may choose."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

Values = Mapping[str, jax.Array]


@dataclass(frozen=True)
class Coefficient:
    """One that a fit chooses between `low` and `high`, from several `starts`.

    log: it is searched by its logarithm, and so is positive.
    """

    name: str
    starts: tuple[float, ...]
    low: float
    high: float
    log: bool = False

    def to_search(self, value: float) -> float:
        """Where the search has this value of the coefficient."""
        if not self.log:
            return float(value)
        return float(np.log(value)) if value > 0 else -np.inf

    def from_search(self, place: np.ndarray) -> np.ndarray:
        """The values of places in the search."""
        return np.exp(place) if self.log else np.asarray(place)


@dataclass(frozen=True)
class Law:
    """A pure function of columns of runs.

    log_loss(coefficients, columns): the logarithm of the loss, nats a token, of each run; from the
    coefficients' own values (not their logarithms) and the columns `inputs`, arrays of one shape.
    """

    name: str
    inputs: tuple[str, ...]
    coefficients: tuple[Coefficient, ...]
    log_loss: Callable[[Values, Values], jax.Array]
    source: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.coefficients)

    def values(self, point: jax.Array) -> dict[str, jax.Array]:
        """The coefficients of a point [..., p] of the search, each [...]."""
        columns = jnp.moveaxis(point, -1, 0)
        pairs = zip(self.coefficients, columns, strict=True)
        return {each.name: jnp.exp(x) if each.log else x for each, x in pairs}

    def named(self, point: np.ndarray) -> dict[str, float]:
        """The same of one point [p], as plain numbers."""
        pairs = zip(self.coefficients, point, strict=True)
        return {each.name: float(each.from_search(x)) for each, x in pairs}

    def point(self, values: Mapping[str, float]) -> np.ndarray:
        """The other way: [p]."""
        return np.array([each.to_search(values[each.name]) for each in self.coefficients])

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the search: lowest and highest, each [p]."""
        low = np.array([each.to_search(each.low) for each in self.coefficients])
        return low, np.array([each.to_search(each.high) for each in self.coefficients])

    def starts(self) -> np.ndarray:
        """Every combination of the coefficients' starts, as points [k, p]."""
        each = [[c.to_search(start) for start in c.starts] for c in self.coefficients]
        return np.stack([axis.ravel() for axis in np.meshgrid(*each, indexing="ij")], axis=-1)

    def predict(self, values: Mapping[str, float], **columns: float | np.ndarray) -> np.ndarray:
        """The loss, in float64. columns: the law's inputs, numbers or arrays of one shape."""
        return np.exp(self.predict_log(self.point(values), columns))

    def predict_log(
        self, points: np.ndarray, columns: Mapping[str, float | np.ndarray]
    ) -> np.ndarray:
        """The loss's logarithm at points [..., p], which broadcast against the columns."""
        # Given to a compiled function as they are: to put each on the device first takes longer.
        given = {name: np.asarray(columns[name], np.float64) for name in self.inputs}
        with jax.enable_x64(True):
            return np.asarray(_log_loss(self, np.asarray(points, np.float64), given))


@partial(jax.jit, static_argnums=0)
def _log_loss(law: Law, points: jax.Array, columns: Values) -> jax.Array:
    return law.log_loss(law.values(points), columns)


def log_add(*terms: jax.Array) -> jax.Array:
    """log(exp(a) + exp(b) + ...)"""
    total = terms[0]
    for term in terms[1:]:
        total = jnp.logaddexp(total, term)
    return total
