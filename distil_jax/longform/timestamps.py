"""The tokens of one window -> its segments, and how far they lead: by timestamps in pairs.

The rule of OpenAI's transcribe.py as transformers has it (`_retrieve_segment` of
models/whisper/generation_whisper.py), to which tests/longform/test_timestamps.py holds it.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from distil_jax.labelling.alignment.words import TokenTime, timed_words
from distil_jax.longform.transcript import Segment
from distil_jax.models.vocabulary import Vocabulary

FRAME_SECONDS = 0.01  # of the log-mel spectrogram
_STEP = 2  # frames between two timestamps


def split(
    tokens: Sequence[int], seek: int, frames: int, vocabulary: Vocabulary
) -> tuple[list[Segment], int]:
    """-> segments, their tokens with the timestamps, and by how many frames to go on.

    tokens: without the end token. seek: the frame that the window begins at, of which it has
    `frames`. Two timestamps side by side end a segment and begin the next; one that was begun and
    not ended is heard again in the next window, which then begins at the last such pair. Where the
    text ends with a single timestamp, nothing is said after it; where there is no pair, all is one
    segment: then the next window begins behind this one.
    """
    zero = vocabulary.first_timestamp
    stamps = [token >= zero for token in tokens]

    def segment(part: Sequence[int], start: int, end: int) -> Segment:
        """start, end: timestamps from the window's beginning on."""
        begin, stop = (round((seek + _STEP * each) * FRAME_SECONDS, 2) for each in (start, end))
        return Segment(begin, stop, vocabulary.decode(part), list(part))

    cuts = [place for place, pair in enumerate(pairwise(stamps), start=1) if all(pair)]
    if not cuts:
        last = max((place for place, stamp in enumerate(stamps) if stamp), default=None)
        end = _last_step(frames)
        if last is not None and tokens[last] != zero:
            end = tokens[last] - zero
        return [segment(tokens, 0, end)], frames
    ends_single = stamps[-2:] == [False, True]
    if ends_single:
        cuts.append(len(tokens))
    else:
        cuts[-1] += 1  # so that the last segment's tokens tell that it was followed by another
    segments = []
    for begin, cut in pairwise([0, *cuts]):
        part = tokens[begin:cut]
        closing = part[-1] if ends_single or cut != cuts[-1] else part[-2]
        segments.append(segment(part, part[0] - zero, closing - zero))
    return segments, frames if ends_single else _STEP * (tokens[cuts[-1] - 2] - zero)


def with_words(
    segments: Sequence[Segment],
    times: Sequence[TokenTime],
    vocabulary: Vocabulary,
    language: str | None,
) -> list[Segment]:
    """The segments of `split`, with their words. times: of the window's tokens, at least theirs."""
    timed, first = [], 0
    for segment in segments:
        own = zip(segment.tokens, times[first : first + len(segment.tokens)], strict=True)
        spoken = [(token, time) for token, time in own if token < vocabulary.end]
        ids, known = [token for token, _ in spoken], [time for _, time in spoken]
        timed.append(replace(segment, words=timed_words(vocabulary, ids, known, language)))
        first += len(segment.tokens)
    return timed


def _last_step(frames: int) -> int:
    """The last timestamp in so many frames. Of transformers' float32, that may be one too early."""
    seconds = np.float32(frames) * np.float32(FRAME_SECONDS)
    return int(seconds / np.float32(_STEP * FRAME_SECONDS))


def as_prompt(segment: Segment, vocabulary: Vocabulary) -> list[int]:
    """Its tokens for the prompt of a later window: of a pair at the end, the first timestamp."""
    tokens = segment.tokens
    paired = len(tokens) > 2 and tokens[-2] >= vocabulary.first_timestamp
    return tokens[:-1] if paired else tokens
