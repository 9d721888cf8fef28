"""What a user is told of a fit, and of the runs."""

from dataclasses import asdict
from typing import Any

import numpy as np

from distil_jax.scaling.fitted import FittedLaw
from distil_jax.scaling.fitting.checks import check_runs, outliers
from distil_jax.scaling.fitting.fit import Fit
from distil_jax.scaling.fitting.held_out import HeldOut
from distil_jax.scaling.fitting.table import Table
from distil_jax.scaling.fitting.teachers import FEWEST_CLUSTERS, is_clustered

_MOST_SHOWN = 10
_LOW_COVERAGE = 0.75  # of intervals of 90 %
_NEAR = 1e-5  # of the way between a coefficient's bounds: so close to one, it is at it


def notes_on(found: Fit, table: Table) -> list[str]:
    """For a user: what to know of the runs and of how the law fits them."""
    told = check_runs(found.runs)
    teachers = table.words["teacher"]
    if any(teachers) and not is_clustered(teachers):
        told.append(
            f"runs are drawn one by one, not by their teacher: that would take at least "
            f"{FEWEST_CLUSTERS} teachers, and a name for each run's"
        )
    far = outliers(found)
    if len(far):
        told.append(
            f"{len(far)} runs lie far from the law, more than 6 robust standard deviations "
            f"({table.where(far).places(_MOST_SHOWN)}): look at them before trusting it"
        )
    told += _at_bounds(found)
    if found.reached == 1:
        told.append("a single start came near the lowest loss: take more --starts")
    return told


def _at_bounds(found: Fit) -> list[str]:
    """Which coefficients would have gone on, had the search let them."""
    (low, high), told = found.law.bounds(), []
    near = _NEAR * (high - low)
    for number, each in enumerate(found.law.coefficients):
        for end, bound in ((low, each.low), (high, each.high)):
            if abs(found.point[number] - end[number]) <= near[number]:
                told.append(
                    f"{each.name} ended at the bound {bound:.4g} of the search: the runs do not "
                    f"tell it"
                )
    return told


def described(found: FittedLaw) -> dict[str, Any]:
    """What a user is shown of a fitted law: without draws and residuals.

    Of coefficients that the runs do not tell, without the bootstrap's interval: it comes out narrow
    where the search stays near one of many values that fit as well.
    """
    shown = {
        "law": found.law,
        "runs": found.runs,
        "coefficients": [
            {
                "name": name,
                "value": each.value,
                "low": each.interval[0] if each.interval and each.told else None,
                "high": each.interval[1] if each.interval and each.told else None,
                "profile_low": each.profile[0],
                "profile_high": each.profile[1],
                "told": each.told,
            }
            for name, each in found.coefficients.items()
        ],
        "search": found.search.model_dump(),
        "criteria": asdict(found.criteria),
        "held_out": [_summary(each) for each in found.held_out],
        "notes": [*found.notes, *_untold(found), *_uncovered(found)],
    }
    if found.compared:
        shown["compared"] = [asdict(each) for each in found.compared]
    return {**shown, "supervised": described(found.supervised)} if found.supervised else shown


def _summary(each: HeldOut) -> dict[str, Any]:
    """Without the single runs."""
    single = ("observed", "predicted", "intervals", "fitted_losses")
    return {name: value for name, value in vars(each).items() if name not in single}


def _untold(found: FittedLaw) -> list[str]:
    names = [name for name, each in found.coefficients.items() if not each.told]
    if not names:
        return []
    return [
        f"the runs do not tell {', '.join(names)}: other values fit as well. Trust what the law "
        f"predicts within the runs' range, not these numbers"
    ]


def _uncovered(found: FittedLaw) -> list[str]:
    held_out = [each for each in found.held_out if each.coverage is not None]
    if not held_out:
        return []
    shares = [each.coverage or 0.0 for each in held_out]
    share = float(np.average(shares, weights=[each.tested for each in held_out]))
    if share >= _LOW_COVERAGE:
        return []
    return [
        f"of runs that were held out {share:.0%} lie in their 90 % intervals: beyond its runs the "
        f"law is less sure than its intervals say"
    ]
