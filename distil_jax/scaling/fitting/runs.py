"""Runs as a fit wants them: columns of numbers, and which of the runs go together."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Runs:
    """n runs: columns, each [n], by the names that laws use; loss [n], nats a token.

    weights [n]: how much each counts; of what was held out, 0. clusters [n]: runs of one number are
    drawn together (those of one teacher, or of one seed): they do not depend on chance alone.
    """

    columns: Mapping[str, np.ndarray]
    loss: np.ndarray
    weights: np.ndarray
    clusters: np.ndarray

    @classmethod
    def of(
        cls,
        columns: Mapping[str, np.ndarray],
        loss: np.ndarray,
        weights: np.ndarray | None = None,
        clusters: np.ndarray | None = None,
    ) -> "Runs":
        """Without weights all count alike; without clusters each stands for itself."""
        count = len(loss)
        return cls(
            {name: np.asarray(column, float) for name, column in columns.items()},
            np.asarray(loss, float),
            np.ones(count) if weights is None else np.asarray(weights, float),
            np.arange(count) if clusters is None else np.unique(clusters, return_inverse=True)[1],
        )

    @property
    def counted(self) -> np.ndarray:
        """Which of them count at all: [n]."""
        return self.weights > 0

    def __len__(self) -> int:
        """How many count."""
        return int(self.counted.sum())

    def without(self, held_out: np.ndarray) -> "Runs":
        """In place, but of no weight: shapes stay, and with them what is compiled."""
        weights = np.where(held_out, 0.0, self.weights)
        return Runs(self.columns, self.loss, weights, self.clusters)

    def where(self, chosen: np.ndarray) -> "Runs":
        """Those of a mask [n] or of numbers."""
        columns = {name: column[chosen] for name, column in self.columns.items()}
        return Runs(columns, self.loss[chosen], self.weights[chosen], self.clusters[chosen])

    def with_column(self, name: str, column: np.ndarray) -> "Runs":
        return Runs({**self.columns, name: column}, self.loss, self.weights, self.clusters)

    def resampled_weights(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """[count, n]: how often each run is drawn, its whole cluster at a time."""
        known = np.unique(self.clusters[self.counted])
        drawn = rng.multinomial(len(known), np.full(len(known), 1 / len(known)), size=count)
        times = np.zeros((count, self.clusters.max() + 1))
        times[:, known] = drawn
        return times[:, self.clusters] * self.weights
