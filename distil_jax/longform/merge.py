"""Tokens of overlapping windows -> one text, and its segments where there are timestamps.

The merge of transformers (`_decode_asr` of models/whisper/tokenization_whisper.py), its oddities
included, so that texts compare; it is held to the same segments by tests/longform/test_merge.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

from distil_jax.data.audio import MAX_SECONDS
from distil_jax.labelling.alignment.aligner import TokenTimes
from distil_jax.labelling.alignment.words import timed_words
from distil_jax.longform.overlap import Tokens, merge_tokens
from distil_jax.longform.transcript import Segment
from distil_jax.models.vocabulary import Vocabulary

_STEP = 0.02  # s between two timestamps


class Stride(NamedTuple):
    """Seconds: how long a window is, and how much of it its neighbours hear, too."""

    length: float
    left: float
    right: float


class Merge:
    """The windows of one recording, added in order.

    A segment begins at a timestamp and ends at the next one that counts. Those in the strides do
    not: there two windows overlap, and their tokens wait to be merged until a timestamp outside.
    Without any timestamps all is one segment, without start and end.
    """

    def __init__(self, vocabulary: Vocabulary, language: str | None = None):
        self._vocabulary, self._language = vocabulary, language
        self._waiting: list[Tokens] = []  # tokens of a segment that is not closed yet, by window
        self._start: float | None = None  # of that segment
        self._offset = 0.0  # where the next window begins, its left stride left out
        self._skip = False  # the pair of a timestamp in the right stride, which comes next

    def add(
        self, tokens: Sequence[int], stride: Stride, timed: TokenTimes | None = None
    ) -> list[Segment]:
        """The segments that this window closed. tokens: as decoded, special ones and all.

        timed: of the tokens, from the beginning of the window; then segments have words.
        """
        names, closed = self._vocabulary, []
        self._offset -= stride.left
        times, (first, last) = _Times(tokens, names.first_timestamp), self._bounds(tokens, stride)
        known = timed.since(self._offset) if timed else None
        text = Tokens([], [])
        for place, token in enumerate(tokens):
            if token < names.end:
                text.ids.append(token)
                text.times.extend([known[place]] if known else [])
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
                    text = Tokens([], [])
        self._offset += stride.length - stride.right
        if text.ids:
            self._waiting.append(text)
        elif not any(each.ids for each in self._waiting):
            self._waiting, self._start = [], None
        return closed

    def finish(self) -> list[Segment]:
        """What no timestamp closed."""
        return [self._close(None)] if self._waiting else []

    def _close(self, end: float | None) -> Segment:
        ids, times = merge_tokens(self._waiting)
        words = timed_words(self._vocabulary, ids, times, self._language) if times else None
        segment = Segment(self._start, end, self._vocabulary.decode(ids), ids, words)
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
