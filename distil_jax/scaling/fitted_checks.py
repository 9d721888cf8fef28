"""Whether a law's file says what `fit` writes: people and tools edit such files."""

from collections.abc import Mapping, Sequence

import numpy as np

from distil_jax.scaling.domain import PER_PARAMETER, Domain
from distil_jax.scaling.laws import Law

_ROUNDING = 1e-6


def check_coefficients(
    law: Law, values: Mapping[str, float], draws: Sequence[Sequence[float]]
) -> None:
    """Raises ValueError where they are not those of the law, or cannot be."""
    if sorted(values) != sorted(law.names):
        raise ValueError(f"law {law.name}: got {list(values)}, expected {list(law.names)}")
    for each in law.coefficients:
        slack = _ROUNDING * (1 + abs(values[each.name]))
        if not each.low - slack <= values[each.name] <= each.high + slack:
            raise ValueError(
                f"{each.name}: got {values[each.name]:g}, expected {each.low:g} to {each.high:g}"
            )
    if any(len(row) != len(law.names) for row in draws):
        raise ValueError(f"draws: expected {len(law.names)} coefficients each")
    if not np.isfinite(np.array(draws)).all():
        raise ValueError("draws: expected numbers")


def check_domain(law: Law, domain: Domain, residuals: Sequence[float]) -> None:
    """Raises ValueError where it is not that of the law's runs."""
    lacking = {*law.inputs, PER_PARAMETER} - set(domain.ranges)
    if lacking:
        raise ValueError(f"domain: expected ranges of {', '.join(sorted(lacking))} too")
    for name, (low, high) in domain.ranges.items():
        if not 0 < low <= high < np.inf:
            raise ValueError(f"domain: got {name} from {low:g} to {high:g}, expected above 0")
    lengths = {len(residuals), *map(len, domain.corners.values())}
    if set(domain.corners) != set(law.inputs) or len(lengths) > 1:
        raise ValueError(
            f"domain: expected corners of {', '.join(law.inputs)}, each with a number for each of "
            f"{len(residuals)} residuals"
        )
    if not np.isfinite(np.array([residuals, *domain.corners.values()])).all():
        raise ValueError("domain: expected numbers")
