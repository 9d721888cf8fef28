"""What each filter keeps: a threshold, a part of the clips, or as many as another filter."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from distil_jax.errors import UserError
from distil_jax.labelling.filters.settings import Filter, FilterConfig, Match


class Decision(NamedTuple):
    """kept: bool [rows]. reason: why the others are not. cut: the score at which the cut lies."""

    kept: np.ndarray
    reason: str
    cut: float | None


class Judge:
    """The scores of a label table, each computed when first asked for, and what filters make of it.

    judged: bool [rows]; the other rows have been dropped already: they have no score, no rank, and
    no part in any fraction.
    """

    def __init__(self, labels: pa.Table, config: FilterConfig, judged: np.ndarray):
        self._labels, self._config, self._judged = labels, config, judged
        self._badness: dict[str, np.ndarray] = {}

    def badness(self, name: str) -> np.ndarray:
        """A score turned so that low is good, float64 [rows]; NaN where it cannot tell."""
        if name not in self._badness:
            found = self._config.available[name].badness(self._labels)
            self._badness[name] = np.where(self._judged, found, np.nan)
        return self._badness[name]

    def of(self, names: Sequence[str], combined: bool) -> np.ndarray:
        """The badness of one score, or the mean rank of several, float64 [rows]."""
        each = [self.badness(name) for name in names]
        return mean_rank(each) if combined else each[0]

    def decide(self, each: Filter) -> Decision:
        """Rows that were dropped already are not kept."""
        badness = self.of(each.scores, bool(each.rank))
        known = ~np.isnan(badness)
        if each.threshold is not None:
            better = badness < self._turned(each.scores[0], each.threshold)
            reason, cut = f"{each} {self._worse(each)}", each.threshold
        else:
            fraction, why = self._fraction(each)
            better = self._best(badness, round(fraction * int(known.sum())))
            reason = f"{each}: not in the best {100 * fraction:.4g} %{why}"
            cut = self._cut(each, badness, better)
        kept = np.where(known, better, each.missing == "keep") & self._judged
        return Decision(kept, reason, cut)

    def _turned(self, name: str, value: float) -> float:
        return value if self._config.available[name].good == "low" else -value

    def _worse(self, each: Filter) -> str:
        sign = ">=" if self._config.available[each.scores[0]].good == "low" else "<="
        return f"{sign} {each.threshold:g}"

    def _fraction(self, each: Filter) -> tuple[float, str]:
        """(the part to keep, why that much)."""
        if each.match is None:
            return each.keep_fraction or 0.0, ""
        return self._matched(each.match), f" (as many as {each.match})"

    def _matched(self, match: Match) -> float:
        badness = self.badness(match.score)
        known = int((~np.isnan(badness)).sum())
        if not known and self._judged.any():
            raise UserError(
                f"match: {match.score} says nothing of any of the {int(self._judged.sum())} labels "
                f"(are there references?), so that there is no amount to match. Give the filter a "
                f"threshold or keep_fraction in its place"
            )
        return int((badness < self._turned(match.score, match.threshold)).sum()) / max(known, 1)

    def _best(self, badness: np.ndarray, count: int) -> np.ndarray:
        """So many rows of the least badness, bool [rows]; of equals those of the least hash."""
        best = np.zeros(len(badness), bool)
        best[np.lexsort((self._hashes, badness))[:count]] = True  # NaN comes last
        return best

    def _cut(self, each: Filter, badness: np.ndarray, better: np.ndarray) -> float | None:
        """The worst score that is kept, in the score's own sense."""
        if not better.any():
            return None
        worst = float(badness[better].max())
        return worst if each.rank else self._turned(each.scores[0], worst)

    @cached_property
    def _hashes(self) -> np.ndarray:
        """Of ids, so that among equals no part of the corpus comes first. uint64 [rows]."""
        pairs = zip(self._labels["corpus"].to_pylist(), self._labels["id"].to_pylist(), strict=True)
        digests = [hashlib.sha256(f"{corpus}/{id}".encode()).digest()[:8] for corpus, id in pairs]
        return np.array([int.from_bytes(digest, "big") for digest in digests], np.uint64)


def ranks(badness: np.ndarray) -> np.ndarray:
    """From near 0 (best) to near 1, float64 [rows]; equals share their middle rank, NaN stays.

    (rank - 1/2) / count, so that scores that tell of few clips weigh as those that tell of many.
    """
    known = ~np.isnan(badness)
    _, number, counts = np.unique(badness[known], return_inverse=True, return_counts=True)
    ranked = np.full(len(badness), np.nan)
    ranked[known] = ((np.cumsum(counts) - counts / 2) / max(1, known.sum()))[number]
    return ranked


def mean_rank(badness: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of each row's ranks by the scores that tell of it, float64 [rows]; NaN if none."""
    table = np.stack([ranks(each) for each in badness])
    known = (~np.isnan(table)).sum(0)
    return np.where(known, np.nansum(table, 0) / np.maximum(known, 1), np.nan)
