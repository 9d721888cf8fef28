"""The order in which clips are trained on: shuffled, and grouped by length to save padding."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

# Batches that are sorted by length together: enough to group, few enough to stay shuffled.
_WINDOW = 8


@dataclass(frozen=True)
class BatchOrder:
    """Which clips make up batch number i, for any i: a pure function of the seed.

    Each epoch is a fresh permutation; windows of it are sorted by length and cut into batches,
    which are shuffled. The clips that do not fill a last batch sit out that epoch. With fewer clips
    than a batch takes, clips come several times.
    """

    lengths: Sequence[int]
    batch_size: int
    seed: int
    _epoch: object = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_epoch", lru_cache(maxsize=2)(self._make_epoch))

    @property
    def batches_per_epoch(self) -> int:
        return max(1, len(self.lengths) // self.batch_size)

    def __getitem__(self, index: int) -> list[int]:
        epoch, batch = divmod(index, self.batches_per_epoch)
        return self._epoch(epoch)[batch]  # pyright: ignore[reportCallIssue]

    def _make_epoch(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng([self.seed, epoch])
        clips = len(self.lengths)
        order = np.concatenate(
            [rng.permutation(clips) for _ in range(-(-self.batch_size // clips))]
        )
        order = order[: self.batches_per_epoch * self.batch_size]
        lengths = np.asarray(self.lengths)
        window = _WINDOW * self.batch_size
        batches = []
        for start in range(0, len(order), window):
            part = order[start : start + window]
            part = part[np.argsort(lengths[part], kind="stable")]
            batches += part.reshape(-1, self.batch_size).tolist()
        return [batches[i] for i in rng.permutation(len(batches))]
