"""Token sequences that overlap -> one sequence.

As `_find_longest_common_sequence` of transformers (models/whisper/tokenization_whisper.py), its
oddities included.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from distil_jax.labelling.alignment.words import TokenTime

_LONG = 10_000  # a token more of overlap is worth a 10,000th: of two equal shares the longer wins


class Tokens(NamedTuple):
    """Text tokens of a window; times: of each, or none at all where they are not known."""

    ids: list[int]
    times: list[TokenTime]

    def before(self, place: int) -> "Tokens":
        return Tokens(self.ids[:place], self.times[:place])

    def after(self, place: int) -> "Tokens":
        return Tokens(self.ids[place:], self.times[place:])


def merge_tokens(sequences: Sequence[Tokens]) -> Tokens:
    """Token sequences of windows in order, each overlapping the one before -> one sequence.

    The end of what is there is laid over the beginning of the next at every shift. The best has the
    largest share of equal tokens, and at least two; it is cut in its middle: the left sequence is
    trusted before, the right one after. Without such a shift they stand one after the other.
    """
    parts = []
    left = sequences[0]
    for right in sequences[1:]:
        left_middle, right_middle = _cut(left, right)
        parts.append(left.before(left_middle))
        left = right.after(right_middle)
    parts.append(left)
    ids = [token for part in parts for token in part.ids]
    return Tokens(ids, [time for part in parts for time in part.times])


def _cut(left: Tokens, right: Tokens) -> tuple[int, int]:
    """Where `left` ends and `right` goes on: the middle of the best overlap.

    At shift i the last i tokens of `left` lie over the first i of `right`; what hangs over at an
    end has no counterpart. Score: equal tokens / i + i / 10000.
    """
    count = len(left.ids)
    lengths = count, len(right.ids)
    if not all(lengths):
        return count, 0
    shifts = np.arange(1, sum(lengths))
    a, b = np.nonzero(_may_match(left, right))
    equal = np.bincount(count - a + b, minlength=sum(lengths))[1:]
    scores = np.where(equal > 1, equal / shifts + shifts / _LONG, 0.0)
    best = int(np.argmax(scores))
    if scores[best] == 0.0:
        return count, 0
    shift = best + 1
    left_range = max(0, count - shift), min(count, sum(lengths) - shift)
    right_range = max(0, shift - count), min(len(right.ids), shift)
    return sum(left_range) // 2, sum(right_range) // 2


def _may_match(left: Tokens, right: Tokens) -> np.ndarray:
    """Which tokens are equal and, where times are known, not said earlier on the right.

    [tokens of the left, of the right] bool.
    """
    equal = np.array(left.ids)[:, None] == np.array(right.ids)
    if not left.times:
        return equal
    (start, end, _), (later, later_end, _) = (np.array(each.times).T for each in (left, right))
    start, end = start[:, None], end[:, None]
    return equal & ((start < later) | ((start == later) & (end <= later_end)))
