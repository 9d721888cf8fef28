"""How well a law predicts runs that its fit did not see."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distil_jax.scaling.fitting.bootstrap import Sampled, bootstrap, bootstrap_both
from distil_jax.scaling.fitting.fit import Fit, fewest_runs, fit
from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.runs import Runs
from distil_jax.scaling.fitting.splits import Splits
from distil_jax.scaling.laws import DISTILLATION
from distil_jax.scaling.laws.distillation import SUPERVISED_LOSS
from distil_jax.scaling.laws.law import Law


@dataclass(frozen=True)
class HeldOut:
    """Runs that the fit did not see: errors are relative, predicted over observed less one.

    name: what was held out. fitted, tested: how many runs. coverage: the share of those tested that
    the 90 % interval of a run's loss covers; None where none was made. observed, predicted: of each
    of them, the loss; intervals: those of 90 %, where any was made. fitted_losses: the lowest and
    the highest that the fit saw; None in files that an older version wrote.
    """

    name: str
    fitted: int
    tested: int
    mean_error: float
    worst_error: float
    bias: float
    coverage: float | None
    observed: tuple[float, ...] = ()
    predicted: tuple[float, ...] = ()
    intervals: tuple[tuple[float, float], ...] = ()
    fitted_losses: tuple[float, float] | None = None


def held_out(
    law: Law,
    runs: Runs,
    splits: Splits,
    loss: FitLoss | None = None,
    most_starts: int | None = None,
    draws: int = 0,
) -> list[HeldOut]:
    """Fit each split's runs and predict the others; splits with too few runs are left out.

    draws: of a bootstrap, for intervals.
    """
    told = []
    for name, mask in splits:
        known, others = runs.without(~mask), _others(runs, mask)
        if len(known) >= fewest_runs(law) and len(others):
            found = fit(law, known, loss, most_starts)
            sampled = bootstrap(found, draws) if draws else None
            told.append(_compared(name, found, others, sampled))
    return told


def held_out_of_both(
    law: Law,
    alone: Runs,
    students: Runs,
    splits: Splits,
    loss: FitLoss | None = None,
    most_starts: int | None = None,
    draws: int = 0,
) -> tuple[list[HeldOut], list[HeldOut]]:
    """A supervised `law` and the distillation law, of which neither sees what is held out.

    splits: masks of the runs alone and, after them, of the students. -> of each law, those splits
    that leave enough runs for both of them and hold out some of its own.
    """
    of_alone, of_students = [], []
    for name, mask in splits:
        first_mask, mask = np.split(mask, [len(alone.loss)])
        first_known, known = alone.without(~first_mask), students.without(~mask)
        if len(first_known) < fewest_runs(law) or len(known) < fewest_runs(DISTILLATION):
            continue
        first = fit(law, first_known, loss, most_starts)
        said = first.predict(students.columns)
        second = fit(DISTILLATION, known.with_column(SUPERVISED_LOSS, said), loss, most_starts)
        drawn = bootstrap_both(first, second, draws) if draws else (None, None)
        others = _others(alone, first_mask)
        if len(others):
            of_alone.append(_compared(name, first, others, drawn[0]))
        others = _others(students, mask)
        if len(others):
            others = others.with_column(SUPERVISED_LOSS, first.predict(others.columns))
            own = _said_by_each(drawn[0], others) if drawn[0] else {}
            of_students.append(_compared(name, second, others, drawn[1], own))
    return of_alone, of_students


def _others(runs: Runs, mask: np.ndarray) -> Runs:
    """Those that count and were held out."""
    return runs.where(~mask & runs.counted)


def _said_by_each(supervised: Sampled, students: Runs) -> dict[str, np.ndarray]:
    """What each draw [b] of the supervised law says of the students [n]."""
    return {SUPERVISED_LOSS: np.exp(supervised.predicted_log(students.columns))}


def _compared(
    name: str,
    found: Fit,
    tested: Runs,
    sampled: Sampled | None,
    own: Mapping[str, np.ndarray] | None = None,
) -> HeldOut:
    """own: columns [b, n] of which each draw has its own."""
    predicted = found.predict(tested.columns)
    errors = predicted / tested.loss - 1
    coverage, intervals = None, ()
    seen = found.runs.loss[found.runs.counted]
    if sampled is not None:
        low, high = sampled.prediction_interval({**tested.columns, **(own or {})})
        coverage = float(np.mean((low <= tested.loss) & (tested.loss <= high)))
        intervals = tuple(zip(low.tolist(), high.tolist(), strict=True))
    return HeldOut(
        name=name,
        fitted=len(found.runs),
        tested=len(tested),
        mean_error=float(np.mean(np.abs(errors))),
        worst_error=float(np.max(np.abs(errors))),
        bias=float(np.mean(errors)),
        coverage=coverage,
        observed=tuple(tested.loss.tolist()),
        predicted=tuple(predicted.tolist()),
        intervals=intervals,
        fitted_losses=(float(seen.min()), float(seen.max())),
    )
