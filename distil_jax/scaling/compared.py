"""Laws fitted to the same runs, side by side: which one to trust."""

from collections.abc import Sequence

import numpy as np

from distil_jax.scaling.fitted import FittedLaw, Standing
from distil_jax.scaling.fitting.held_out import HeldOut


def compared(laws: Sequence[FittedLaw]) -> list[Standing]:
    """The best first: by what was held out, which a law with more coefficients does not win by
    them alone; where nothing was, by AICc, and else as given."""
    common = set.intersection(*({each.name for each in law.held_out} for law in laws))
    same = len({law.criteria.likelihood for law in laws}) == 1
    standings = [_standing(law, common, same) for law in laws]
    by = "held_out_error" if common else "aicc"
    return sorted(standings, key=lambda each: getattr(each, by) or 0.0)


def _standing(law: FittedLaw, common: set[str], same: bool) -> Standing:
    splits = [each for each in law.held_out if each.name in common]
    return Standing(
        law=law.law,
        held_out_error=float(np.mean([s.mean_error for s in splits])) if splits else None,
        coverage=_coverage(splits),
        splits=len(splits),
        aicc=law.criteria.aicc if same else None,
        bic=law.criteria.bic if same else None,
    )


def _coverage(splits: Sequence[HeldOut]) -> float | None:
    covered = [(each.coverage, each.tested) for each in splits if each.coverage is not None]
    if not covered:
        return None
    shares, counts = zip(*covered, strict=True)
    return float(np.average(shares, weights=counts))
