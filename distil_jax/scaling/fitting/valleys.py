"""Profiles as ways along valleys: of each held value the lowest point that any search finds.

p coefficients, each held at m values.
"""

import numpy as np

from distil_jax.scaling.fitting.fit import Fit
from distil_jax.scaling.fitting.polish import Polisher
from distil_jax.scaling.fitting.way import Way

_ROUNDS = 3  # in which profiles lend each other points
_SHARPER = 4  # more values at most, where to a side a profile gets deep
_CLOSE = 0.1  # to where it does: near enough
_STEEP = 2.0  # a depth beyond it tells no more of where that is


class Valleys:
    """ways: of each coefficient, held at values [p, m]. Their losses become lower in place.

    deep: so many times the least loss is where an interval ends. little: by no more than such a
    share is no loss lower than another.
    """

    def __init__(self, fit: Fit, held: np.ndarray, deep: float, little: float):
        self._low, self._high = fit.law.bounds()
        self._deep, self._little = deep, little
        self._polish = Polisher(fit.law, fit.loss, fit.runs)
        self.ways = [Way.unknown(number, row, len(held)) for number, row in enumerate(held)]

    def from_optimum(self, point: np.ndarray, middle: int) -> None:
        """To both sides of every coefficient's value in the middle, which is that of the point."""
        optimum = self._polish(point)
        for way in self.ways:
            way.takes(middle, optimum.point, optimum.loss)
            self._follow(way, middle)

    def from_points(self, points: np.ndarray, losses: np.ndarray) -> None:
        """Of each place one that another search found, [p, m, p] and [p, m], where it is lower."""
        for way in self.ways:
            for at in range(len(way)):
                loss = float(losses[way.number, at])
                is_lower = self._is_lower(loss, way, at)
                way.takes(at, points[way.number, at], loss)
                if is_lower and self._is_near(loss):
                    self._follow(way, at)

    def settle(self) -> None:
        """Profiles lend each other points, and get more values where they get deep."""
        self._lend()
        for _ in range(_ROUNDS):
            self._sharpen()
            if not self._lend():
                break

    def _lend(self) -> bool:
        """Where another profile's way crosses a held value lower than the profile itself: steps of
        one coefficient may lose a valley that those of another keep to."""
        lent = [self._takes_over(way, at) for way in self.ways for at in range(len(way))]
        return any(lent)

    def _takes_over(self, way: Way, at: int) -> bool:
        others = [other for other in self.ways if other is not way]
        crossings = [other.crossing(way.number, way.held[at]) for other in others]
        loss, start = min(crossings, key=lambda crossing: crossing[0])
        if not (self._is_lower(loss, way, at) and self._is_near(loss)):
            return False
        if not self._descends(way, at, [start]):
            return False
        self._follow(way, at)
        return True

    def _sharpen(self) -> None:
        """More values, where to either side the loss gets deep: there a way may bend, such as where
        another coefficient comes to its bound."""
        for way in self.ways:
            for step in (-1, 1):
                for _ in range(_SHARPER):
                    if not self._comes_closer(way, step):
                        break

    def _comes_closer(self, way: Way, step: int) -> bool:
        found = way.getting_deep(step, self._deep)
        if found is None or np.abs(found[1] - 1).min() < _CLOSE:
            return False
        at, depths = found
        value = np.interp(1.0, np.minimum(depths, _STEEP), way.held[[at - step, at]])
        at += step < 0
        way.inserts(at, float(value))
        self._descends(way, at, way.starts(at, step))
        return True

    def _follow(self, way: Way, middle: int) -> None:
        """From there to both sides, as long as that is lower and not too deep."""
        for step in (-1, 1):
            for at in range(middle + step, len(way) if step > 0 else -1, step):
                found = self._descends(way, at, way.starts(at, step))
                if not (found and self._is_near(float(way.losses[at]))):
                    break

    def _descends(self, way: Way, at: int, starts: list[np.ndarray]) -> bool:
        """From some points, the best first, up to one that is in the valley already; whether one
        ends lower than what is known."""
        is_held, known = np.arange(len(self.ways)) == way.number, float(way.losses[at])
        inside = [np.clip(start, self._low, self._high) for start in starts]
        there = [np.where(is_held, way.held[at], start) for start in inside]
        losses = [self._polish.at(start)[0] for start in there]
        for best in np.argsort(losses):
            place = self._polish(there[best], fixed=way.number)
            way.takes(at, place.point, place.loss)
            if self._is_near(losses[best]):
                break
        return float(way.losses[at]) < known * (1 - self._little)

    def _is_lower(self, loss: float, way: Way, at: int) -> bool:
        return loss < way.losses[at] * (1 - self._little)

    def _is_near(self, loss: float) -> bool:
        """Whether it is not deep."""
        return loss < self._deep * min(way.losses.min() for way in self.ways)
