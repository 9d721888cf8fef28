"""Which law to trust: criteria of what is fitted. `held_out` has those of what is not."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from distil_jax.scaling.fitting.fit import Fit


@dataclass(frozen=True)
class Criteria:
    """Of Akaike, corrected for few runs, and of Bayes: the lower, the better, of one likelihood."""

    aicc: float
    bic: float
    likelihood: Literal["laplace", "normal"] = "laplace"


def criteria(fitted: Fit) -> Criteria:
    """By Laplace's or Gauss's likelihood of the logarithmic residuals, whichever the loss is nearer
    to; their scale is one parameter more. Weights are relative."""
    runs, parameters = len(fitted.runs), len(fitted.point) + 1
    residuals, weights = fitted.residuals, fitted.runs.weights[fitted.runs.counted]
    if fitted.is_normal:
        variance = float(np.average(residuals**2, weights=weights))
        twice = runs * (np.log(2 * np.pi * variance) + 1)
    else:
        scale = float(np.average(np.abs(residuals), weights=weights))
        twice = 2 * runs * (np.log(2 * scale) + 1)
    more = 2 * parameters * (parameters + 1) / (runs - parameters - 1)
    aicc, bic = twice + 2 * parameters + more, twice + parameters * np.log(runs)
    return Criteria(float(aicc), float(bic), "normal" if fitted.is_normal else "laplace")
