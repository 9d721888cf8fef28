"""Tokens with times -> words.

The words of transformers (`_combine_tokens_into_words` of models/whisper/tokenization_whisper.py),
which are OpenAI's (whisper/tokenizer.py, `split_to_word_tokens`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
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


class Group(NamedTuple):
    """Tokens that belong together, and their text."""

    text: str
    tokens: list[int]

    def then(self, following: "Group") -> "Group":
        return Group(self.text + following.text, self.tokens + following.tokens)


def timed_words(
    vocabulary: Vocabulary,
    tokens: Sequence[int],
    times: Sequence[TokenTime],
    language: str | None,
) -> list[Word]:
    """The words of text tokens. times: of each token."""
    words, first = [], 0
    for text, group in split_words(vocabulary, tokens, language):
        own = times[first : first + len(group)]
        probability = sum(each.probability for each in own) / len(own)
        words.append(Word(text, own[0].start, own[-1].end, probability))
        first += len(group)
    return words


def split_words(vocabulary: Vocabulary, tokens: Sequence[int], language: str | None) -> list[Group]:
    """Tokens by word: each begins at a space, or is one character where none are written.

    Punctuation goes with the word before or after it. language: its code.
    """
    characters = _characters(vocabulary, tokens)
    if language not in _WITHOUT_SPACES:
        characters = _joined_at_spaces(characters)
    return _with_closing_punctuation(_with_opening_punctuation(characters))


def _characters(vocabulary: Vocabulary, tokens: Sequence[int]) -> list[Group]:
    """The shortest runs of tokens that are whole characters."""
    whole = vocabulary.decode(tokens)
    groups: list[Group] = []
    begun: list[int] = []
    place = 0  # in `whole`, where the begun group begins
    for token in tokens:
        begun.append(token)
        text = vocabulary.decode(begun)
        broken = place + text.find(_INCOMPLETE)
        # A broken character that stays broken in the whole text will not be completed.
        if _INCOMPLETE not in text or broken >= len(whole) or whole[broken] == _INCOMPLETE:
            groups.append(Group(text, begun))
            begun, place = [], place + len(text)
    return groups


def _joined_at_spaces(characters: list[Group]) -> list[Group]:
    words: list[Group] = []
    for group in characters:
        if words and not group.text.startswith(" ") and group.text.strip() not in _PUNCTUATION:
            words[-1] = words[-1].then(group)
        else:
            words.append(group)
    return words


def _with_opening_punctuation(words: list[Group]) -> list[Group]:
    """Joined from behind: several may stand one after the other."""
    joined: list[Group] = []
    for word in reversed(words):
        opens = word.text.startswith(" ") and word.text.strip() in _BELONGS_TO_NEXT
        if joined and opens:
            joined[-1] = word.then(joined[-1])
        else:
            joined.append(word)
    return joined[::-1]


def _with_closing_punctuation(words: list[Group]) -> list[Group]:
    joined: list[Group] = []
    for word in words:
        if joined and not joined[-1].text.endswith(" ") and word.text in _BELONGS_TO_LAST:
            joined[-1] = joined[-1].then(word)
        else:
            joined.append(word)
    return joined
