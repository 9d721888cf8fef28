"""What a scaling law is: a formula for a loss, and the coefficients that a fit may choose."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce

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
    power: a positive coefficient that a term is raised to, and those within that term. Runs tell of
    these hardly more than their products with it, along which a fit then goes its last stretch.
    """

    name: str
    inputs: tuple[str, ...]
    coefficients: tuple[Coefficient, ...]
    log_loss: Callable[[Values, Values], jax.Array]
    source: str = ""
    power: tuple[str, tuple[str, ...]] | None = None

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

    def starts(self, most: int | None = None, seed: int = 0) -> np.ndarray:
        """Every combination of the coefficients' starts, or `most` of them: points [k, p]."""
        each = [np.array([c.to_search(start) for start in c.starts]) for c in self.coefficients]
        shape = [len(starts) for starts in each]
        chosen = np.arange(np.prod(shape))
        if most is not None and most < len(chosen):
            chosen = np.random.default_rng(seed).permutation(chosen)[:most]
        places = np.unravel_index(chosen, shape)
        return np.stack([starts[p] for starts, p in zip(each, places, strict=True)], axis=-1)

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
    return reduce(_log_add, terms)


@jax.custom_jvp
def _log_add(a: jax.Array, b: jax.Array) -> jax.Array:
    """jnp.logaddexp, whose derivatives take two exponentials more of each run."""
    return jnp.maximum(a, b) + jnp.log1p(jnp.exp(-jnp.abs(a - b)))


@_log_add.defjvp
def _log_add_derivative(terms: tuple, moves: tuple) -> tuple[jax.Array, jax.Array]:
    a, b = terms
    first = a >= b
    lesser = jnp.exp(jnp.where(first, b - a, a - b))  # beside the greater term
    share = jnp.where(first, 1.0, lesser) / (1.0 + lesser)
    total = jnp.where(first, a, b) + jnp.log1p(lesser)
    return total, share * moves[0] + (1.0 - share) * moves[1]
