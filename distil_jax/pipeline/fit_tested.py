"""How well a law that was fitted predicts runs that it did not see."""

import numpy as np

from distil_jax.pipeline.fit_options import FitOptions
from distil_jax.scaling.fitting.fit import Fit
from distil_jax.scaling.fitting.held_out import HeldOut, held_out, held_out_of_both
from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.splits import usual_splits
from distil_jax.scaling.fitting.teachers import is_clustered

_DRAWS = 200


def tested(found: Fit, options: FitOptions, teachers: np.ndarray) -> list[HeldOut]:
    if not options.held_out:
        return []
    splits = usual_splits(found.runs.columns, found.runs.loss, _named(teachers))
    return held_out(found.law, found.runs, splits, *_fitted_by(options))


def both_tested(
    supervised: Fit, found: Fit, options: FitOptions, teachers: np.ndarray
) -> tuple[list[HeldOut], list[HeldOut]]:
    """What is held out is taken from the runs of both laws: neither sees it."""
    if not options.held_out:
        return [], []
    alone, students = supervised.runs, found.runs
    columns = {n: np.concatenate([alone.columns[n], students.columns[n]]) for n in ("N", "D")}
    named = np.concatenate([np.full(len(alone.loss), ""), _named(teachers)])
    splits = usual_splits(columns, np.concatenate([alone.loss, students.loss]), named)
    return held_out_of_both(supervised.law, alone, students, splits, *_fitted_by(options))


def _named(teachers: np.ndarray) -> np.ndarray:
    """Of each run, the teacher with whose others it is held out; "" where that is not known."""
    return teachers.astype(str) if is_clustered(teachers) else np.full(len(teachers), "")


def _fitted_by(options: FitOptions) -> tuple[FitLoss, int, int]:
    return options.loss, options.starts, min(options.draws, _DRAWS)
