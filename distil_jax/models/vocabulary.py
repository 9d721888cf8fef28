"""Whisper's vocabulary: text to token ids and back, and the ids of the special tokens by name.

Ids differ between English-only, multilingual and large-v3 models, so none is written down here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from distil_jax.errors import UserError
from distil_jax.models.tokenizer_files import TIMESTAMPS, added_ids, plain_tokenizer

# The vocabulary of English-only models is the smaller one (OpenAI's rule, whisper/model.py).
_SMALLEST_MULTILINGUAL = 51865
_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
TASKS = ("transcribe", "translate")


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer, and the ids that Whisper's decoder input and decoding rules are made of."""

    size: int  # rows of the embedding
    start: int
    end: int
    previous: int
    no_timestamps: int
    no_speech: int
    transcribe: int
    translate: int
    first_timestamp: int  # <|0.00|>; 1501 of them, 0.02 s apart
    languages: dict[str, int]  # code -> id; empty in English-only models
    is_multilingual: bool
    suppress: tuple[int, ...]  # never decoded
    begin_suppress: tuple[int, ...]  # not decoded first
    tokenizer: dict[str, Any] = field(repr=False)  # tokenizer.json, timestamps included

    @cached_property
    def _text(self) -> Tokenizer:
        return plain_tokenizer(self.tokenizer)

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(added_ids(self.tokenizer).values())

    @property
    def codes(self) -> tuple[str, ...]:
        """The languages that the model can be told."""
        return tuple(self.languages) if self.is_multilingual else ("en",)

    @property
    def last_timestamp(self) -> int:
        """The id of <|30.00|>."""
        return self.first_timestamp + TIMESTAMPS - 1

    def encode(self, text: str) -> list[int]:
        """Ids of plain text, as it is: no leading space is added, and nothing in it is special."""
        return self._text.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special tokens and timestamps are left out, a leading space is kept.

        Bytes that are not UTF-8 become U+FFFD.
        """
        plain = [int(i) for i in ids if int(i) not in self._added]
        return self._text.decode(plain, skip_special_tokens=False)

    def prefix(
        self, language: str | None = None, task: str = "transcribe", timestamps: bool = False
    ) -> list[int]:
        """What the decoder input begins with: start, language, task, and no-timestamps if so.

        English-only models have neither language nor task: [start, no-timestamps].
        Raises UserError for a language or task that the model does not have.
        """
        last = [] if timestamps else [self.no_timestamps]
        return [self.start, *self._language_and_task(language, task), *last]

    def _language_and_task(self, language: str | None, task: str) -> list[int]:
        if task not in TASKS:
            raise UserError(f"task '{task}': expected one of {', '.join(TASKS)}")
        if not self.is_multilingual:
            if language not in (None, "en") or task != "transcribe":
                raise UserError(
                    f"language '{language}', task '{task}': this model is English-only; expected "
                    f"language 'en' (or none) and task 'transcribe', or a multilingual model"
                )
            return []
        if language not in self.languages:
            raise UserError(
                f"language '{language}': expected one of {', '.join(sorted(self.languages))}"
            )
        return [self.languages[language], self.transcribe if task == TASKS[0] else self.translate]


def make_vocabulary(
    tokenizer: dict[str, Any], generation_config: Mapping[str, Any], size: int, source: str
) -> Vocabulary:
    """The vocabulary of a model with `size` embedding rows.

    tokenizer: the content of tokenizer.json (see tokenizer_files.read_tokenizer).
    Raises UserError when a token is missing, or when tokenizer and weights do not fit.
    """
    ids = {**tokenizer["model"]["vocab"], **added_ids(tokenizer)}
    multilingual = generation_config.get("is_multilingual", size >= _SMALLEST_MULTILINGUAL)
    languages = {m[1]: i for name, i in ids.items() if (m := _LANGUAGE.fullmatch(name))}
    vocabulary = Vocabulary(
        size=size,
        start=_find(ids, source, "<|startoftranscript|>"),
        end=_find(ids, source, "<|endoftext|>"),
        previous=_find(ids, source, "<|startofprev|>"),
        no_timestamps=_find(ids, source, "<|notimestamps|>"),
        no_speech=_find(ids, source, "<|nospeech|>", "<|nocaptions|>"),
        transcribe=_find(ids, source, "<|transcribe|>"),
        translate=_find(ids, source, "<|translate|>"),
        first_timestamp=_find(ids, source, "<|0.00|>"),
        languages=languages if multilingual else {},
        is_multilingual=bool(multilingual),
        suppress=_tokens(generation_config, "suppress_tokens", size),
        begin_suppress=_tokens(generation_config, "begin_suppress_tokens", size),
        tokenizer=tokenizer,
    )
    _check_size(vocabulary, max(ids.values()), source)
    return vocabulary


def _find(ids: Mapping[str, int], source: str, *names: str) -> int:
    """The id of the one of `names` that the tokenizer has; it was called differently by age."""
    for name in names:
        if name in ids:
            return ids[name]
    raise UserError(
        f"{source}: the tokenizer has no token {' or '.join(names)}. Expected a Whisper tokenizer; "
        f"got one of {len(ids)} tokens."
    )


def _tokens(generation_config: Mapping[str, Any], name: str, size: int) -> tuple[int, ...]:
    tokens = tuple(generation_config.get(name) or ())
    wrong = [token for token in tokens if not 0 <= token < size]
    if wrong:
        raise UserError(f"generation config: {name} has {wrong}; expected ids from 0 to {size - 1}")
    return tokens


def _check_size(vocabulary: Vocabulary, last: int, source: str) -> None:
    if max(last, vocabulary.last_timestamp) >= vocabulary.size:
        raise UserError(
            f"{source}: the tokenizer has ids up to {max(last, vocabulary.last_timestamp)}, but "
            f"the weights have only {vocabulary.size} embeddings. They belong to different models."
        )
