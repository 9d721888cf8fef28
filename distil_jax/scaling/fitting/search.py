"""Many searches of a law's coefficients at once, in float64: damped Newton from every start.

n runs, p coefficients, k searches. A step solves (H + m G) x = -g, with g the gradient; G the
Gauss-Newton matrix of the parabolas above the loss (as in iteratively reweighted least squares); H
the loss's own second derivative, or G again in the `rough` part; and m the damping, raised while
steps go up and lowered while they go down (Levenberg 1944, Marquardt 1963).
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.laws.law import Law

_AT_ONCE = 16  # searches in one program: few, so that it works in the cache, on every core
_ROUND = 10  # steps after which those that have ended are left out of the programs
_DAMPED_MOST = 1e12


class Found(NamedTuple):
    """Of each search: where it ended [k, p], the loss there and its gradient's greatest entry,
    both scaled as in `FitLoss.scaled` and divided by the weight of all runs, each [k]."""

    points: np.ndarray
    losses: np.ndarray
    slopes: np.ndarray

    def best_first(self) -> "Found":
        order = np.argsort(self.losses, kind="stable")
        return Found(*(each[order] for each in self))


class _State(NamedTuple):
    """Arrays of one search, or of many."""

    point: Any
    loss: Any
    slope: Any
    damping: Any
    still: Any
    step: Any


def search(
    law: Law,
    loss: FitLoss,
    columns: Mapping[str, np.ndarray],
    observed: np.ndarray,
    starts: np.ndarray,
    weights: np.ndarray | None = None,
    fixed: np.ndarray | None = None,
    steps: int = 100,
    rough: bool = False,
) -> Found:
    """From each of `starts` [k, p] downhill.

    columns: the law's inputs, each [n], or [k, n] of each search's own. observed: losses [n].
    weights: of the runs, [n] or [k, n]. fixed [k, p] or [p]: coefficients that stay as they start.
    """
    searches, coefficients = starts.shape
    runs = np.shape(observed)[-1]
    weights = np.ones(runs) if weights is None else weights
    fixed = np.zeros(coefficients, bool) if fixed is None else fixed
    given = {name: np.asarray(columns[name], float) for name in law.inputs}
    own = (
        np.broadcast_to(np.asarray(weights, float), (searches, runs)),
        np.broadcast_to(fixed, (searches, coefficients)),
        {name: column for name, column in given.items() if column.ndim == 2},
    )
    common = {name: column for name, column in given.items() if column.ndim == 1}
    state, target = _begun(law, np.asarray(starts, float), own[1]), np.log(observed)

    def part(until: int, rows: np.ndarray) -> _State:
        """Filled up, so that all parts are of one shape and compiled once."""
        filled = np.pad(rows, (0, _AT_ONCE - len(rows)), mode="edge")
        with jax.enable_x64(True):
            each = jax.tree.map(lambda a: a[filled], (state, *own))
            ended = _downhill(law, loss, rough, until, target, common, *each)
            return jax.tree.map(lambda a: np.asarray(a)[: len(rows)], ended)

    active = np.arange(searches)
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # jax computes outside Python's lock
        for until in range(_ROUND, steps + _ROUND, _ROUND):
            parts = np.split(active, range(_AT_ONCE, len(active), _AT_ONCE))
            going = partial(part, min(until, steps))
            first = [going(parts.pop(0))] if until == _ROUND else []  # alone: it compiles
            for all_, *ended in zip(state, *first, *threads.map(going, parts), strict=True):
                all_[active] = np.concatenate(ended)
            active = active[_goes_on(state)[active]]
            if not len(active):
                break
    return Found(state.point, state.loss, state.slope)


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


def _begun(law: Law, starts: np.ndarray, fixed: np.ndarray) -> _State:
    """Of every search, before its first step; its loss is found by that."""
    count = len(starts)
    return _State(
        point=np.where(fixed, starts, np.clip(starts, *law.bounds())),
        loss=np.full(count, np.inf),
        slope=np.full(count, np.inf),
        damping=np.ones(count),
        still=np.zeros(count, int),
        step=np.zeros(count, int),
    )


def _goes_on(state: _State) -> Any:
    """Whether a search has somewhere to go, its steps aside."""
    return (state.still < 3) & (state.damping < _DAMPED_MOST)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _downhill(
    law: Law,
    loss: FitLoss,
    rough: bool,
    until: jax.Array,
    observed: jax.Array,
    common: dict[str, jax.Array],
    *own: Any,
) -> _State:
    """All searches up to a step: each with its own state, weights, fixed coefficients, columns."""
    return jax.vmap(partial(_search, law, loss, rough, until, observed, common))(*own)


def _search(
    law: Law,
    loss: FitLoss,
    rough: bool,
    until: jax.Array,
    observed: jax.Array,
    common: dict[str, jax.Array],
    begin: _State,
    weights: jax.Array,
    fixed: jax.Array,
    own: dict[str, jax.Array],
) -> _State:
    columns = {**common, **own}
    low, high = (jnp.asarray(side) for side in law.bounds())
    total = weights.sum()

    def residuals(point: jax.Array) -> jax.Array:
        return law.log_loss(law.values(point), columns) - observed

    def value(point: jax.Array) -> jax.Array:
        return mean_loss(law, loss, point, columns, observed, weights)

    def derivatives(point: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Gradient, second derivative and Gauss-Newton matrix."""
        jacobian = jax.jacfwd(residuals)(point)
        _, slopes, curvatures = loss.scaled(residuals(point))
        gradient = jacobian.T @ (weights * slopes) / total
        above = (jacobian * (weights * curvatures)[:, None]).T @ jacobian / total
        return gradient, above if rough else jax.hessian(value)(point), above

    def held(point: jax.Array, gradient: jax.Array) -> jax.Array:
        """Coefficients that may not move: told so, or at a bound that the loss pushes against."""
        return fixed | ((point <= low) & (gradient > 0)) | ((point >= high) & (gradient < 0))

    def more(state: _State) -> jax.Array:
        return (state.step < until) & _goes_on(state)

    def step(state: _State) -> _State:
        gradient, second, above = derivatives(state.point)
        stuck = held(state.point, gradient)
        free = ~(stuck[:, None] | stuck[None])
        ridge = jnp.where(stuck, 1.0, 1e-12 * (1.0 + jnp.diag(above)))
        scaled = above + jnp.diag(jnp.diag(above))
        matrix = jnp.where(free, second + state.damping * scaled, 0.0) + jnp.diag(ridge)
        move = -jnp.linalg.solve(matrix, jnp.where(stuck, 0.0, gradient))
        point = jnp.clip(state.point + move, low, high)
        found = value(point)
        better = found < state.loss
        # At the bottom no step is better, and none much worse than rounding.
        still = jnp.abs(state.loss - found) <= 1e-13 * jnp.abs(state.loss)
        return _State(
            point=jnp.where(better, point, state.point),
            loss=jnp.where(better, found, state.loss),
            slope=jnp.max(jnp.abs(jnp.where(stuck, 0.0, gradient))),
            damping=jnp.clip(state.damping * jnp.where(better, 0.2, 4.0), 1e-12, None),
            still=jnp.where(still, state.still + 1, jnp.where(better, 0, state.still)),
            step=state.step + 1,
        )

    return jax.lax.while_loop(more, step, begin._replace(loss=value(begin.point)))
