"""Laws of models that learn from text alone, of N parameters and D tokens.

N counts what is not embedding. The grids of starts are those of Besiroglu et al. 2024
(arXiv:2404.10102) and of Busbridge et al. 2025 (arXiv:2502.08606).
"""

from math import exp

import jax
import jax.numpy as jnp

from distil_jax.scaling.laws.law import Coefficient, Law, Values, log_add


def reducible(c: Values, x: Values) -> jax.Array:
    """log(A / N^alpha + B / D^beta)"""
    size = jnp.log(c["A"]) - c["alpha"] * jnp.log(x["N"])
    return log_add(size, jnp.log(c["B"]) - c["beta"] * jnp.log(x["D"]))


# Of `reducible` to the power of gamma.
POWER = ("gamma", ("A", "B", "alpha", "beta"))


def _chinchilla(c: Values, x: Values) -> jax.Array:
    return log_add(jnp.log(c["E"]), reducible(c, x))


def _gamma(c: Values, x: Values) -> jax.Array:
    return log_add(jnp.log(c["E"]), c["gamma"] * reducible(c, x))


def scale(name: str, steps: int) -> Coefficient:
    """A of A / N^alpha, or the like: 1, e^5, e^10 and so on."""
    starts = tuple(exp(5.0 * step) for step in range(steps))
    return Coefficient(name, starts, low=exp(-40), high=exp(60), log=True)


def exponent(name: str, starts: tuple[float, ...], low: float = 0.0) -> Coefficient:
    return Coefficient(name, starts, low=low, high=5.0)


def _entropy(*logs: float) -> Coefficient:
    """E, which is left of the loss however much there is of everything."""
    return Coefficient("E", tuple(map(exp, logs)), low=exp(-10), high=exp(5), log=True)


_TO_TWO = (0.0, 0.5, 1.0, 1.5, 2.0)
CHINCHILLA = Law(
    name="chinchilla",
    inputs=("N", "D"),
    coefficients=(
        scale("A", 6),
        scale("B", 6),
        _entropy(-1.0, -0.5, 0.0, 0.5, 1.0),
        exponent("alpha", _TO_TWO),
        exponent("beta", _TO_TWO),
    ),
    log_loss=_chinchilla,
    source="L = E + A/N^alpha + B/D^beta. Hoffmann et al. 2022, arXiv:2203.15556, equation 2",
)

_POWERS = (0.0, 0.5, 1.0, 1.5)
GAMMA = Law(
    name="gamma",
    inputs=("N", "D"),
    coefficients=(
        scale("A", 5),
        scale("B", 5),
        _entropy(-1.0, -0.5, 0.0, 0.5, 1.0, 1.5),
        exponent("alpha", _POWERS),
        exponent("beta", _POWERS),
        exponent("gamma", _POWERS, low=0.01),
    ),
    log_loss=_gamma,
    power=POWER,
    source="L = E + (A/N^alpha + B/D^beta)^gamma. Busbridge et al. 2025, arXiv:2502.08606, Eq 1",
)
