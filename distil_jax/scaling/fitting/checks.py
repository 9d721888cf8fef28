"""What is wrong with a table of runs before a law is fitted to it, and after."""

import numpy as np

from distil_jax.scaling.fitting.fit import Fit
from distil_jax.scaling.fitting.runs import Runs

_NARROW = 0.05  # of log(D/N): runs whose spread is smaller share one ratio
_FAR = 6.0  # robust standard deviations


def check_runs(runs: Runs) -> list[str]:
    """For a user: what makes the runs tell less than they seem to."""
    told = []
    rows = np.column_stack([*runs.columns.values(), runs.loss])
    copies = len(rows) - len(np.unique(rows, axis=0))
    if copies:
        told.append(
            f"{copies} of {len(rows)} runs are copies of others, number by number: they count twice"
        )
    if {"N", "D"} <= runs.columns.keys():
        spread = np.std(np.log(runs.columns["D"] / runs.columns["N"]))
        if spread < _NARROW:
            ratio = np.median(runs.columns["D"] / runs.columns["N"])
            told.append(
                f"all runs have about {ratio:.3g} tokens a parameter: what comes of size and what "
                f"of tokens cannot be told apart; add runs of other ratios"
            )
    for name, column in runs.columns.items():
        if len(np.unique(column)) == 1:
            told.append(f"{name} is {column[0]:.4g} in all runs: nothing of it can be told")
    return told


def outliers(fit: Fit) -> np.ndarray:
    """Numbers of the runs whose residual is far from all others', the farthest first."""
    residuals, numbers = fit.residuals, np.flatnonzero(fit.runs.counted)
    middle = np.median(residuals)
    spread = 1.4826 * np.median(np.abs(residuals - middle))  # of Gauss's, its standard deviation
    far = np.abs(residuals - middle) / max(spread, 1e-12)
    return np.array([numbers[n] for n in np.argsort(-far) if far[n] > _FAR], int)
