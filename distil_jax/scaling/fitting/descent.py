"""One search of a law's coefficients: damped Newton steps.

n runs, p coefficients. A step solves (H + m G) x = -g, with g the gradient; G the Gauss-Newton
matrix of the parabolas above the loss (as in iteratively reweighted least squares), its diagonal a
little larger; H the loss's own second derivative, or G again where it is `rough`; and m the
damping, raised while steps go up and lowered while they go down (Levenberg 1944, Marquardt 1963).
All of it in the coordinates in which valleys are straight (products.py).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.products import Products
from distil_jax.scaling.laws.law import Law

_DAMPED_MOST = 1e12
_DIAGONAL = 0.01  # more of it shortens the steps along valleys


class State(NamedTuple):
    """Arrays of one search, or of many."""

    point: Any
    loss: Any
    slope: Any
    damping: Any
    still: Any
    step: Any


def goes_on(state: State) -> Any:
    """Whether a search has somewhere to go, its steps aside."""
    return (state.still < 3) & (state.damping < _DAMPED_MOST)


class _Place(NamedTuple):
    """A point [p] of one search: the loss there; and by products its gradient [p] and the matrices
    [p, p] that a step is solved by."""

    point: jax.Array
    loss: jax.Array
    gradient: jax.Array
    second: jax.Array
    above: jax.Array


@partial(jax.jit, static_argnums=(0, 1, 2))
def downhill(
    law: Law,
    loss: FitLoss,
    rough: bool,
    until: jax.Array,
    observed: jax.Array,
    common: dict[str, jax.Array],
    *own: Any,
) -> State:
    """All searches up to a step: each with its own state, weights, fixed coefficients, columns."""
    return jax.vmap(partial(_search, law, loss, rough, until, observed, common))(*own)


def _search(
    law: Law,
    loss: FitLoss,
    rough: bool,
    until: jax.Array,
    observed: jax.Array,
    common: dict[str, jax.Array],
    begin: State,
    weights: jax.Array,
    fixed: jax.Array,
    own: dict[str, jax.Array],
) -> State:
    columns = {**common, **own}
    low, high = (jnp.asarray(side) for side in law.bounds())
    total = weights.sum()
    products = Products.of(law, fixed)

    def value(point: jax.Array) -> tuple[jax.Array, jax.Array]:
        """And residuals."""
        residuals = law.log_loss(law.values(point), columns) - observed
        return jnp.sum(weights * loss.scaled(residuals)[0]) / total, residuals

    def by_products(place: jax.Array) -> tuple[jax.Array, jax.Array]:
        return value(products.divided(place))

    def with_gradient(place: jax.Array) -> tuple[Any, Any]:
        """What is to be derived, and what is wanted as it is, in one pass. Rough: no gradient."""
        if rough:
            found, residuals = by_products(place)
            return (None, residuals), (found, residuals)
        (found, residuals), gradient = jax.value_and_grad(by_products, has_aux=True)(place)
        return (gradient, residuals), (found, residuals)

    def at(point: jax.Array) -> _Place:
        derived = jax.jacfwd(with_gradient, has_aux=True)(products.multiplied(point))
        (second, jacobian), (found, residuals) = derived
        _, sloping, curvatures = loss.scaled(residuals)
        above = (jacobian * (weights * curvatures)[:, None]).T @ jacobian / total
        return _Place(
            point=point,
            loss=jnp.where(jnp.isfinite(found), found, jnp.inf),
            gradient=jacobian.T @ (weights * sloping) / total,
            second=above if rough else second,
            above=above,
        )

    def held(point: jax.Array, gradient: jax.Array) -> jax.Array:
        """Coefficients that may not move: told so, or at a bound that the loss pushes against."""
        return fixed | ((point <= low) & (gradient > 0)) | ((point >= high) & (gradient < 0))

    def more(carry: tuple[State, _Place]) -> jax.Array:
        state, _ = carry
        return (state.step < until) & goes_on(state)

    def step(carry: tuple[State, _Place]) -> tuple[State, _Place]:
        state, here = carry
        stuck = held(here.point, here.gradient)
        free = ~(stuck[:, None] | stuck[None])
        ridge = jnp.where(stuck, 1.0, 1e-12 * (1.0 + jnp.diag(here.above)))
        scaled = here.above + _DIAGONAL * jnp.diag(jnp.diag(here.above))
        matrix = jnp.where(free, here.second + state.damping * scaled, 0.0) + jnp.diag(ridge)
        move = _solved(matrix, jnp.where(stuck, 0.0, here.gradient))
        moved = products.divided(products.multiplied(here.point) - move)
        there = at(jnp.clip(jnp.where(fixed, here.point, moved), low, high))
        better = there.loss < here.loss
        # At the bottom no step is better, and none much worse than rounding.
        still = jnp.abs(here.loss - there.loss) <= 1e-13 * jnp.abs(here.loss)
        state = state._replace(
            damping=jnp.clip(state.damping * jnp.where(better, 0.2, 4.0), 1e-12, None),
            still=jnp.where(still, state.still + 1, jnp.where(better, 0, state.still)),
            step=state.step + 1,
        )
        return state, jax.tree.map(lambda old, new: jnp.where(better, new, old), here, there)

    state, place = jax.lax.while_loop(more, step, (begin, at(begin.point)))
    gradient = jax.grad(value, has_aux=True)(place.point)[0]
    slope = jnp.max(jnp.abs(jnp.where(held(place.point, gradient), 0.0, gradient)))
    return state._replace(point=place.point, loss=place.loss, slope=slope)


def _solved(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """matrix [p, p]^-1 right [p], by elimination without pivots: LAPACK would take the matrices of
    all searches one by one.

    A damped matrix needs no pivots; what comes of one that does is no better step, and not taken.
    """
    work = jnp.concatenate([matrix, right[:, None]], axis=1)
    for row in range(len(right)):
        unit = work[row] / work[row, row]
        work = (work - work[:, row, None] * unit).at[row].set(unit)
    return work[:, -1]
