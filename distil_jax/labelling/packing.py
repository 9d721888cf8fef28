"""Clips of a speaker, in their order, joined to up to 30 seconds: a student learns long speech.

So distil-large-v3 was trained (Distil-Whisper's README; its run_pseudo_labelling.py joins before
labelling). Here labels are joined, after the filter: a wrong label costs its own clip and no other,
and one set of labels serves both ways of training. Nothing is dropped, and no bucket ends where a
file of labels does.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from distil_jax.data.audio import MAX_SAMPLES, SAMPLE_RATE
from distil_jax.data.loader import Example
from distil_jax.data.text import unit
from distil_jax.models.vocabulary import Vocabulary

# A timestamp's step is 20 ms: clips begin at whole steps, so that theirs move by whole tokens.
_STEP = SAMPLE_RATE // 50


class Spoken(NamedTuple):
    """A clip to train on, and who says it in which language; None: nobody knows."""

    example: Example
    speaker: str | None
    language: str | None

    @property
    def voice(self) -> Hashable:
        """What clips that stand together share; a corpus of unknown speakers counts as one."""
        return self.example.corpus, self.speaker, self.language


def pack(clips: Iterable[Spoken], vocabulary: Vocabulary, longest: int) -> list[Spoken]:
    """Greedily join each clip to those before it in its voice, if there is room.

    There is for 30 s and `longest` tokens (prefix included), and not behind a label that was cut
    off: its text would run on with another. Packs stand in the order of their first clips; one of a
    single clip is that clip, as it was.
    """
    packs: list[_Pack] = []
    open_packs: dict[Hashable, _Pack] = {}
    for clip in clips:
        part, begun = _part(clip, vocabulary), open_packs.get(clip.voice)
        if begun is None or not begun.has_room(part, longest, vocabulary):
            begun = open_packs[clip.voice] = _Pack(clip)
            packs.append(begun)
        begun.parts.append(part)
    return [each.joined(vocabulary) for each in packs]


def with_previous(clips: Sequence[Spoken]) -> list[Example]:
    """Each with the label before its own in its voice; none of unknown speakers."""
    before: dict[Hashable, list[int]] = {}
    examples = []
    for clip in clips:
        previous = None if clip.speaker is None else before.get(clip.voice)
        examples.append(replace(clip.example, previous=previous))
        before[clip.voice] = clip.example.label
    return examples


class _Part(NamedTuple):
    """A clip inside a pack. tokens: without the end token; samples: how many there are."""

    example: Example
    tokens: list[int]
    samples: int


@dataclass
class _Pack:
    """Clips that will be one. first: tells of all of them."""

    first: Spoken
    parts: list[_Part] = field(default_factory=list)

    def has_room(self, part: _Part, longest: int, vocabulary: Vocabulary) -> bool:
        tokens = sum(len(each.tokens) for each in (*self.parts, part))
        # One more each: the token that says there are no timestamps, and the end token.
        fits = len(self.first.example.prefix) + tokens + 2 <= longest + 1
        return fits and self._begin + part.samples <= MAX_SAMPLES and self._ended(vocabulary)

    @property
    def _begin(self) -> int:
        """The sample that the next clip would begin at."""
        return sum(_steps(part.samples) * _STEP for part in self.parts)

    def _ended(self, vocabulary: Vocabulary) -> bool:
        return self.parts[-1].example.label[-1:] == [vocabulary.end]

    def joined(self, vocabulary: Vocabulary) -> Spoken:
        if len(self.parts) == 1:
            return self.first
        label: list[int] = []
        begin = 0
        for part in self.parts:
            label += _moved(part, begin, vocabulary)
            begin += _steps(part.samples)
        end = [vocabulary.end] if self._ended(vocabulary) else []
        loads = [part.example.load for part in self.parts]
        seconds = (begin - _steps(self.parts[-1].samples)) / 50 + self.parts[-1].example.seconds
        example = replace(
            self.first.example,
            id=f"{self.first.example.id}+{len(self.parts) - 1}",
            load=partial(_load, loads),
            label=[*label, *end],
            seconds=seconds,
        )
        return self.first._replace(example=example)


def _part(clip: Spoken, vocabulary: Vocabulary) -> _Part:
    """The clip with its text ready to stand behind another's."""
    samples = round(clip.example.seconds * SAMPLE_RATE)
    tokens = [token for token in clip.example.label if token != vocabulary.end]
    stamps = [place for place, token in enumerate(tokens) if token >= vocabulary.first_timestamp]
    if stamps and stamps[-1] != len(tokens) - 1:  # the speech went on to the end of the clip
        tokens.append(vocabulary.first_timestamp + _steps(samples))
    return _Part(clip.example, _spaced(tokens, clip.language, vocabulary), samples)


def _spaced(tokens: list[int], language: str | None, vocabulary: Vocabulary) -> list[int]:
    """With a space before the text, in languages that have them; mostly it is there."""
    is_text = [token < vocabulary.first_timestamp for token in tokens]
    if not any(is_text) or unit(language) == "character":
        return tokens
    begin = is_text.index(True)
    end = next((i for i in range(begin, len(tokens)) if not is_text[i]), len(tokens))
    text = vocabulary.decode(tokens[begin:end])
    if text.startswith(" "):
        return tokens
    return [*tokens[:begin], *vocabulary.encode(f" {text}"), *tokens[end:]]


def _moved(part: _Part, begin: int, vocabulary: Vocabulary) -> list[int]:
    """Its tokens with timestamps of the pack: `begin` steps later, and none behind its own end."""
    first, steps = vocabulary.first_timestamp, _steps(part.samples)
    return [
        token if token < first else first + begin + min(token - first, steps)
        for token in part.tokens
    ]


def _steps(samples: int) -> int:
    """Of 20 ms, that so many samples begin."""
    return -(-samples // _STEP)


def _load(loads: Sequence[Callable[[], np.ndarray]]) -> np.ndarray:
    """The samples of the clips one after the other, each filled up with silence to a whole step."""
    *before, last = [load() for load in loads]
    filled = [np.pad(samples, (0, -len(samples) % _STEP)) for samples in before]
    return np.concatenate([*filled, last])
