"""What is known of one coefficient's profile: of each held value a point, and the loss there.

p coefficients, m held values.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Way:
    """number: of the coefficient. held [m]: its values, ascending. points [m, p] and losses [m]:
    the lowest so far; infinite where there is none."""

    number: int
    held: np.ndarray
    points: np.ndarray
    losses: np.ndarray

    @classmethod
    def unknown(cls, number: int, held: np.ndarray, coefficients: int) -> "Way":
        points = np.full((len(held), coefficients), np.nan)
        return cls(number, held, points, np.full(len(held), np.inf))

    def __len__(self) -> int:
        return len(self.held)

    def takes(self, at: int, point: np.ndarray, loss: float) -> None:
        """A point of the value held there, if it is lower."""
        if loss < self.losses[at]:
            self.points[at], self.losses[at] = point, loss

    def inserts(self, at: int, value: float) -> None:
        """A held value, of which nothing is known yet, at that place."""
        self.held = np.insert(self.held, at, value)
        self.points = np.insert(self.points, at, np.nan, axis=0)
        self.losses = np.insert(self.losses, at, np.inf)

    def starts(self, at: int, step: int) -> list[np.ndarray]:
        """Where a search for the lowest point at `at`, coming from `at - step`, may begin: where
        the last place is, and on the lines through it and those beside.

        A valley may be steep: beside its last point, at a value a little further, the loss can be
        so high that a search from there ends elsewhere.
        """
        last = at - step
        starts = [self.points[last]]
        for other in (last - step, at + step):
            known = 0 <= other < len(self) and np.isfinite(self.losses[other])
            if known and self.held[other] != self.held[last]:
                share = (self.held[at] - self.held[last]) / (self.held[other] - self.held[last])
                starts.append(self.points[last] + share * (self.points[other] - self.points[last]))
        return starts

    def crossing(self, number: int, value: float) -> tuple[float, np.ndarray]:
        """The lowest step on which another coefficient takes a value: the greater loss of its ends,
        infinite if there is none, and the point [p] between."""
        values = self.points[:, number]
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = (value - values[:-1]) / np.diff(values)
        losses = np.maximum(self.losses[:-1], self.losses[1:])
        losses = np.where((shares >= 0) & (shares <= 1), losses, np.inf)
        step = int(np.argmin(losses))
        if not np.isfinite(losses[step]):
            return np.inf, self.points[step]
        start, end = self.points[step : step + 2]
        return float(losses[step]), start + shares[step] * (end - start)

    def getting_deep(self, step: int, deep: float) -> tuple[int, np.ndarray] | None:
        """The first place to that side where the loss is `deep` times the least, and how deep it
        is there and a step before: roots of shares of the logarithm. None if it never is."""
        with np.errstate(invalid="ignore"):
            depths = np.sqrt(np.log(self.losses / self.losses.min()) / np.log(deep))
        at = int(np.argmin(self.losses))
        while 0 <= at < len(self):
            if depths[at] >= 1:
                return at, depths[[at - step, at]]
            at += step
        return None
