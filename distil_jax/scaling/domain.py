"""Where a fitted law may be believed: what its runs span."""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import nnls

from distil_jax.settings import Settings

PER_PARAMETER = "D/N"


class Domain(Settings):
    """ranges: lowest and highest of each column, and of tokens a parameter (D/N).

    corners: decimal logarithms of columns of runs, by name, whose convex hull is where the runs
    are; empty where only ranges are known.
    """

    ranges: dict[str, tuple[float, float]]
    corners: dict[str, list[float]] = {}

    @classmethod
    def of(cls, columns: Mapping[str, np.ndarray]) -> "Domain":
        ranges = {name: (float(each.min()), float(each.max())) for name, each in columns.items()}
        ratio = columns["D"] / columns["N"]
        ranges[PER_PARAMETER] = float(ratio.min()), float(ratio.max())
        return cls(
            ranges=ranges, corners={n: np.log10(each).tolist() for n, each in columns.items()}
        )

    def tokens_for(self, size: float) -> tuple[float, float]:
        """The fewest and the most that so many parameters may have: as the runs had in all, and
        for each parameter. The fewest are above the most where no run is of about that size."""
        (low, high), (least, most) = self.ranges["D"], self.ranges[PER_PARAMETER]
        return max(low, least * size), min(high, most * size)

    def beyond(self, **point: float) -> dict[str, float]:
        """How many times below the lowest or above the highest a point is, where it is."""
        given = {**point, PER_PARAMETER: point["D"] / point["N"]}
        found = {}
        for name, (low, high) in self.ranges.items():
            times = max(low / given[name], given[name] / high) if name in given else 1.0
            if times > 1 + 1e-9:
                found[name] = times
        return found

    def distance(self, **point: float) -> float:
        """Powers of ten from a point to the hull of the runs; 0 inside, nan where none is known."""
        names = [name for name in self.corners if name in point]
        if not names:
            return float("nan")
        corners = np.array([self.corners[name] for name in names])
        wanted = np.array([np.log10(point[name]) for name in names])
        # Shares of the runs, none below 0, that sum to 1 and come as near as they can.
        heavy = 1e4
        shares, _ = nnls(
            np.vstack([corners, np.full(corners.shape[1], heavy)]), np.append(wanted, heavy)
        )
        apart = float(np.linalg.norm(corners @ shares / shares.sum() - wanted))
        return apart if apart > 1e-6 else 0.0

    def told(self, **point: float) -> str:
        """For a user: what is outside, and how far; empty inside."""
        found = self.beyond(**point)
        parts = []
        for name, times in found.items():
            low, high = self.ranges[name]
            given = point["D"] / point["N"] if name == PER_PARAMETER else point[name]
            parts.append(
                f"{name} {given:.4g}: the runs have {low:.4g} to {high:.4g}, {times:.4g} times away"
            )
        away = self.distance(**point)
        if not parts and away > 0:
            parts.append("no run and no mixture of runs is there")
        if away > 0.005:
            parts.append(f"{away:.2f} powers of ten outside the hull of the runs")
        return "; ".join(parts)


# Of Busbridge et al. 2025: 143e6 to 12.6e9 parameters, up to 512e9 tokens; students on IsoFLOP
# profiles and of 20 to 320 tokens a parameter; the best teacher has a loss of about 1.93.
APPLE_DOMAIN = Domain(
    ranges={
        "N": (143e6, 12.6e9),
        "D": (2.8e9, 512e9),
        PER_PARAMETER: (10.0, 1100.0),
        "teacher_loss": (1.93, 3.0),
    }
)
