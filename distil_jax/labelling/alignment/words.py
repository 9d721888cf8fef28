"""Tokens with times -> words.

The words of transformers (`_combine_tokens_into_words` of models/whisper/tokenization_whisper.py),
which are OpenAI's (whisper/tokenizer.py, `split_to_word_tokens`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from distil_jax.models.vocabulary import Vocabulary

_WITHOUT_SPACES = {"zh", "ja", "th", "lo", "my", "yue"}
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_BELONGS_TO_NEXT = "\"'“¡¿([{-"
_BELONGS_TO_LAST = "\"'.。,，!！?？:：”)]}、"
_INCOMPLETE = "\ufffd"  # what bytes that are no character decode to


class TokenTime(NamedTuple):
    """Seconds from the beginning of the recording; the token's probability."""

    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Word:
    """start, end: seconds from the beginning of the recording; text as decoded, space and all.

    probability: the mean of its tokens'.
    """

    text: str
    start: float
    end: float
    probability: float


def timed_words(
    vocabulary: Vocabulary,
    tokens: Sequence[int],
    times: Sequence[TokenTime],
    language: str | None,
) -> list[Word]:
    """The words of text tokens. times: of each token."""
    words, first = [], 0
    for group in split_words(vocabulary, tokens, language):
        own = times[first : first + len(group)]
        probability = sum(each.probability for each in own) / len(own)
        words.append(Word(vocabulary.decode(group), own[0].start, own[-1].end, probability))
        first += len(group)
    return words


def split_words(
    vocabulary: Vocabulary, tokens: Sequence[int], language: str | None
) -> list[list[int]]:
    """Tokens by word: each begins at a space, or is one character where none are written.

    Punctuation goes with the word before or after it. language: its code.
    """
    characters = _characters(vocabulary, tokens)
    if language not in _WITHOUT_SPACES:
        characters = _joined_at_spaces(vocabulary, characters)
    return _with_punctuation(vocabulary, characters)


def _characters(vocabulary: Vocabulary, tokens: Sequence[int]) -> list[list[int]]:
    """The shortest runs of tokens that are whole characters."""
    whole = vocabulary.decode(tokens)
    groups: list[list[int]] = []
    open_group: list[int] = []
    place = 0  # in `whole`, where the open group begins
    for token in tokens:
        open_group.append(token)
        text = vocabulary.decode(open_group)
        broken = place + text.find(_INCOMPLETE)
        # A broken character that stays broken in the whole text will not be completed.
        if _INCOMPLETE not in text or broken >= len(whole) or whole[broken] == _INCOMPLETE:
            groups.append(open_group)
            open_group, place = [], place + len(text)
    return groups


def _joined_at_spaces(vocabulary: Vocabulary, characters: list[list[int]]) -> list[list[int]]:
    words: list[list[int]] = []
    for group in characters:
        text = vocabulary.decode(group)
        if words and not text.startswith(" ") and text.strip() not in _PUNCTUATION:
            words[-1] = words[-1] + group
        else:
            words.append(group)
    return words


def _with_punctuation(vocabulary: Vocabulary, words: list[list[int]]) -> list[list[int]]:
    joined: list[list[int]] = []
    waiting: list[int] = []  # an opening quote, for the word that comes
    for word, following in pairwise([*words, None]):
        assert word is not None
        text = vocabulary.decode(word)
        if following and text.startswith(" ") and text.strip() in _BELONGS_TO_NEXT:
            waiting = waiting + word
        else:
            joined.append(waiting + word)
            waiting = []
    return _with_closing_punctuation(vocabulary, joined)


def _with_closing_punctuation(vocabulary: Vocabulary, words: list[list[int]]) -> list[list[int]]:
    joined: list[list[int]] = []
    for word in words:
        before = vocabulary.decode(joined[-1]) if joined else " "
        if not before.endswith(" ") and vocabulary.decode(word) in _BELONGS_TO_LAST:
            joined[-1] = joined[-1] + word
        else:
            joined.append(word)
    return joined
