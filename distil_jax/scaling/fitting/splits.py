"""Which runs a fit is to see, and so which others it is to predict. n runs.

A split is its name and a mask [n] of the runs to fit.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

Splits = Iterable[tuple[str, np.ndarray]]


def usual_splits(
    columns: Mapping[str, np.ndarray], loss: np.ndarray, teachers: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Weaker runs to predict stronger ones; and where teachers are named, each of them once.

    columns: N and D at least. teachers: "" where that is not known.
    """
    size, tokens = columns["N"], columns["D"]
    yield from rollouts("compute", size * tokens)
    yield from rollouts("size", size, (0.8,))
    yield from rollouts("data", tokens, (0.8,))
    yield from weak_to_strong(loss)
    yield from leave_one_out("teacher", teachers)


def rollouts(
    by: str, column: np.ndarray, quantiles: tuple[float, ...] = (0.5, 0.7, 0.8, 0.9)
) -> Iterator[tuple[str, np.ndarray]]:
    """Up to a quantile of a column; these are to predict the rest."""
    for quantile in quantiles:
        mask = column <= np.quantile(column, quantile)
        if not mask.all():
            yield f"{by} above its {quantile:g} quantile", mask


def weak_to_strong(
    loss: np.ndarray, quantiles: tuple[float, ...] = (0.3, 0.5)
) -> Iterator[tuple[str, np.ndarray]]:
    """The same by loss, where the better runs are to be predicted."""
    for quantile in quantiles:
        mask = loss >= np.quantile(loss, quantile)
        if not mask.all():
            yield f"the best {quantile:.0%} by loss", mask


def leave_one_out(by: str, clusters: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Each teacher, or the like, in turn; those without a name ("") stay."""
    for name in np.unique(clusters):
        if name != "":
            yield f"{by} {name}", clusters != name
