"""Tokens of overlapping windows -> one text, and its segments where there are timestamps.

The merge of transformers (`_decode_asr` and `_find_longest_common_sequence` of
models/whisper/tokenization_whisper.py), its oddities included, so that texts compare; it is held to
the same segments by tests/longform/test_merge.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from distil_jax.data.audio import MAX_SECONDS
from distil_jax.longform.transcript import Segment
from distil_jax.models.vocabulary import Vocabulary

_STEP = 0.02  # s between two timestamps
_LONG = 10_000  # a token more of overlap is worth a 10,000th: of two equal shares the longer wins


class Stride(NamedTuple):
    """Seconds: how long a window is, and how much of it its neighbours hear, too."""

    length: float
    left: float
    right: float


def merge_tokens(sequences: Sequence[Sequence[int]]) -> list[int]:
    """Token sequences of windows in order, each overlapping the one before -> one sequence.

    The end of what is there is laid over the beginning of the next at every shift. The best has the
    largest share of equal tokens, and at least two; it is cut in its middle: the left sequence is
    trusted before, the right one after. Without such a shift they stand one after the other.
    """
    merged: list[int] = []
    left = list(sequences[0])
    for following in sequences[1:]:
        right = list(following)
        left_middle, right_middle = _cut(left, right)
        merged += left[:left_middle]
        left = right[right_middle:]
    return merged + left


def _cut(left: list[int], right: list[int]) -> tuple[int, int]:
    """Where `left` ends and `right` goes on: the middle of the best overlap.

    At shift i the last i tokens of `left` lie over the first i of `right`; what hangs over at an
    end has no counterpart. Score: equal tokens / i + i / 10000.
    """
    lengths = len(left), len(right)
    if not all(lengths):
        return len(left), 0
    shifts = np.arange(1, sum(lengths))
    a, b = np.nonzero(np.array(left)[:, None] == np.array(right))
    equal = np.bincount(len(left) - a + b, minlength=sum(lengths))[1:]
    scores = np.where(equal > 1, equal / shifts + shifts / _LONG, 0.0)
    best = int(np.argmax(scores))
    if scores[best] == 0.0:
        return len(left), 0
    shift = best + 1
    left_range = max(0, len(left) - shift), min(len(left), sum(lengths) - shift)
    right_range = max(0, shift - len(left)), min(len(right), shift)
    return sum(left_range) // 2, sum(right_range) // 2


class Merge:
    """The windows of one recording, added in order.

    A segment begins at a timestamp and ends at the next one that counts. Those in the strides do
    not: there two windows overlap, and their tokens wait to be merged until a timestamp outside.
    Without any timestamps all is one segment, without start and end.
    """

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self._waiting: list[list[int]] = []  # tokens of a segment that is not closed yet, by window
        self._start: float | None = None  # of that segment
        self._offset = 0.0  # where the next window begins, its left stride left out
        self._skip = False  # the pair of a timestamp in the right stride, which comes next

    def add(self, tokens: Sequence[int], stride: Stride) -> list[Segment]:
        """The segments that this window closed. tokens: as decoded, special ones and all."""
        names, closed = self._vocabulary, []
        self._offset -= stride.left
        times, (first, last) = _Times(tokens, names.first_timestamp), self._bounds(tokens, stride)
        text: list[int] = []
        for place, token in enumerate(tokens):
            if token < names.end:
                text.append(token)
            elif token >= names.first_timestamp:
                time = round(times.next(place, self._offset), 2)
                if last is not None and token >= last:
                    self._skip = True
                elif self._skip or (self._waiting and token < first):
                    self._skip = False
                elif self._start is None:
                    self._start = time
                elif time != self._start:  # else a start that was written twice
                    self._waiting.append(text)
                    closed.append(self._close(time))
                    text = []
        self._offset += stride.length - stride.right
        if text:
            self._waiting.append(text)
        elif not any(self._waiting):
            self._waiting, self._start = [], None
        return closed

    def finish(self) -> list[Segment]:
        """What no timestamp closed."""
        return [self._close(None)] if self._waiting else []

    def _close(self, end: float | None) -> Segment:
        tokens = merge_tokens(self._waiting)
        segment = Segment(self._start, end, self._vocabulary.decode(tokens), tokens)
        self._waiting, self._start = [], None
        return segment

    def _bounds(self, tokens: Sequence[int], stride: Stride) -> tuple[float, int | None]:
        """The first timestamp right of the left stride; the one from which on they do not count.

        The last timestamp of a window never counts where there is a right stride; nor do those
        before it, as long as they lie in that stride.
        """
        zero = self._vocabulary.first_timestamp
        last = None
        stamps = [token for token in tokens if token >= zero] if stride.right else []
        for token in reversed(stamps):
            if last is not None and (token - zero) * _STEP < stride.length - stride.right:
                break
            last = token
        return stride.left / _STEP + zero, last


class _Times:
    """The timestamps of one window in seconds.

    They begin anew where a window was decoded in several calls, each from the last timestamp of the
    one before or, after a call that ended with a single timestamp, 30 s later.
    """

    def __init__(self, tokens: Sequence[int], zero: int):
        self._tokens, self._zero = tokens, zero
        self._latest = self._one_before = self._earlier_calls = 0.0

    def next(self, place: int, offset: float) -> float:
        """That of the timestamp at `place` among the tokens; `offset`: where the window begins."""
        time = float((self._tokens[place] - self._zero) * _STEP)
        if time < self._latest:
            self._begin_anew(place)
        self._one_before, self._latest = self._latest, time
        return (self._tokens[place] - self._zero) * _STEP + offset + self._earlier_calls

    def _begin_anew(self, place: int) -> None:
        before = self._tokens[max(place - 2, 0) : place]
        if place >= 2 and min(before) < self._zero:
            self._earlier_calls += MAX_SECONDS
        else:
            self._latest = self._one_before
            self._earlier_calls += self._one_before
