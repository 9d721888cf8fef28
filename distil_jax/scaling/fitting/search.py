"""Many searches of a law's coefficients at once, in float64, on every core (descent.py has one).

n runs, p coefficients, k searches.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from distil_jax.scaling.fitting.descent import State, downhill, goes_on
from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.laws.law import Law

# Searches in one program: of few sizes, as each is compiled, and runs times searches no more than
# lets it work in the cache of a core.
_SIZES, _RUNS_AT_ONCE = (3, 6, 12, 32), 9000
_ROUND = 10  # steps after which those that have ended are left out of the programs
LEVEL = 1e-6  # a slope below it is that of an optimum


class Found(NamedTuple):
    """Of each search: where it ended [k, p], the loss there and its gradient's greatest entry,
    both scaled as in `FitLoss.scaled` and divided by the weight of all runs, each [k]."""

    points: np.ndarray
    losses: np.ndarray
    slopes: np.ndarray

    def best_first(self) -> "Found":
        order = np.argsort(self.losses, kind="stable")
        return Found(*(each[order] for each in self))

    def different(self, apart: float) -> "Found":
        """Of those that are best first, one of each loss: from one to the next it grows by more
        than the share `apart`."""
        kept = [0]
        for number, loss in enumerate(self.losses):
            if loss > self.losses[kept[-1]] * (1 + apart):
                kept.append(number)
        return Found(*(each[kept] for each in self))


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
    rough: steps without second derivatives, several times as quick: far from an optimum as good,
    and better where residuals are large for the loss's width; near one slow.
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

    cores = os.cpu_count() or 1
    wanted = -(-searches // cores)
    size = next((each for each in _SIZES if each >= wanted), _SIZES[-1])
    together = max(1, min(size, _RUNS_AT_ONCE // runs))

    def part(until: int, rows: np.ndarray) -> State:
        """Filled up, so that all parts are of one shape and compiled once."""
        filled = np.pad(rows, (0, together - len(rows)), mode="edge")
        with jax.enable_x64(True):
            each = jax.tree.map(lambda a: a[filled], (state, *own))
            ended = downhill(law, loss, rough, until, target, common, *each)
            return jax.tree.map(lambda a: np.asarray(a)[: len(rows)], ended)

    active = np.arange(searches)
    part(0, active[:together])  # compiles, before several threads would
    # Where all are computed at once, nothing is left out.
    each = steps if searches <= cores * together else _ROUND
    with ThreadPoolExecutor(cores) as threads:  # jax computes outside Python's lock
        for until in range(each, steps + each, each):
            parts = np.split(active, range(together, len(active), together))
            going = partial(part, min(until, steps))
            for all_, *ended in zip(state, *threads.map(going, parts), strict=True):
                all_[active] = np.concatenate(ended)
            active = active[goes_on(state)[active]]
            if not len(active):
                break
    return Found(state.point, state.loss, state.slope)


def _begun(law: Law, starts: np.ndarray, fixed: np.ndarray) -> State:
    """Of every search, before its first step; its loss is found by that."""
    count = len(starts)
    return State(
        point=np.where(fixed, starts, np.clip(starts, *law.bounds())),
        loss=np.full(count, np.inf),
        slope=np.full(count, np.inf),
        damping=np.ones(count),
        still=np.zeros(count, int),
        step=np.zeros(count, int),
    )
