"""Coordinates in which the valleys of a law with a term to a power are straight.

Of (A/N^alpha + B/D^beta)^gamma runs tell gamma log(A), gamma alpha and so on, and gamma itself
hardly: in these coordinates a valley is a line along gamma, in the law's own a hyperbola, where a
search takes ten times the steps.
"""

from typing import Any, NamedTuple

import numpy as np

from distil_jax.scaling.laws.law import Law


class Products(NamedTuple):
    """within [p]: 1 for a point's entries that are multiplied, else 0. power: number of their
    factor. Arrays of numpy or of jax."""

    within: Any
    power: int

    @classmethod
    def of(cls, law: Law, fixed: Any) -> "Products":
        """By the law's `power`. Coefficients that are `fixed` (a mask [p]) stay themselves."""
        power, within = law.power or (law.names[0], ())
        mask = np.isin(law.names, within) & ~fixed
        return cls(mask * 1.0, law.names.index(power))

    def multiplied(self, point: Any) -> Any:
        """The place [p] of a point [p]."""
        return point * self._factors(point)

    def divided(self, place: Any) -> Any:
        """The other way."""
        return place / self._factors(place)

    def _factors(self, point: Any) -> Any:
        """[p]; a place has the power itself as a point has it."""
        return 1.0 + self.within * (point[self.power] - 1.0)

    def gradient(self, point: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """By place, from `slopes` by point; each [p]."""
        by_place = slopes / self._factors(point)
        by_place[self.power] -= (self.within * by_place) @ point
        return by_place

    def limits(self, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
        """Those of a point [p], of places, as SciPy's `minimize` takes them."""
        unit, free = np.eye(len(low)), np.asarray(self.within, bool)
        ends = np.where(free, -np.inf, low), np.where(free, np.inf, high)
        limits: dict[str, Any] = {"bounds": list(zip(*ends, strict=True))}
        if free.any():
            # low times the power <= product <= high times the power
            above = unit[free] - np.outer(low[free], unit[self.power])
            rows = np.concatenate([above, np.outer(high[free], unit[self.power]) - unit[free]])
            limits["constraints"] = {"type": "ineq", "fun": rows.dot, "jac": lambda _: rows}
        return limits
