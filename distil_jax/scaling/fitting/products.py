"""Coordinates in which the valleys of a law with a term to a power are straight.

Of (A/N^alpha + B/D^beta)^gamma runs tell gamma log(A), gamma alpha and so on, and gamma itself
hardly: in these coordinates a valley is a line along gamma, in the law's own a hyperbola, where a
search takes ten times the steps.
"""

from typing import Any, NamedTuple

import numpy as np

from distil_jax.scaling.laws.law import Law


class Products(NamedTuple):
    """within: numbers of a point's entries that are multiplied. power: that of their factor."""

    within: list[int]
    power: int

    @classmethod
    def of(cls, law: Law, fixed: int | None) -> "Products":
        """By the law's `power`. A coefficient that is fixed stays itself."""
        power, within = law.power or (law.names[0], ())
        numbers = (law.names.index(name) for name in within)
        return cls([n for n in numbers if n != fixed], law.names.index(power))

    def multiplied(self, point: np.ndarray) -> np.ndarray:
        """The place [p] of a point [p]."""
        place = point.copy()
        place[self.within] *= point[self.power]
        return place

    def divided(self, place: np.ndarray) -> np.ndarray:
        """The other way."""
        point = place.copy()
        point[self.within] /= place[self.power]
        return point

    def gradient(self, point: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """By place, from `slopes` by point; each [p]."""
        by_place = slopes.copy()
        by_place[self.within] /= point[self.power]
        by_place[self.power] -= by_place[self.within] @ point[self.within]
        return by_place

    def limits(self, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
        """Those of a point [p], of places, as SciPy's `minimize` takes them."""
        unit, free = np.eye(len(low)), np.zeros(len(low), bool)
        free[self.within] = True
        ends = np.where(free, -np.inf, low), np.where(free, np.inf, high)
        limits: dict[str, Any] = {"bounds": list(zip(*ends, strict=True))}
        if self.within:
            # low times the power <= product <= high times the power
            above = unit[free] - np.outer(low[free], unit[self.power])
            rows = np.concatenate([above, np.outer(high[free], unit[self.power]) - unit[free]])
            limits["constraints"] = {"type": "ineq", "fun": rows.dot, "jac": lambda _: rows}
        return limits
