"""Text as error rates see it: normalised, in words or characters, and aligned.

Whisper's own normalisers (Radford et al. 2022, appendix C): the English one for English only, the
basic one for all other languages, so that English figures compare with the papers'.
"""

import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import distribution
from typing import Literal

import jiwer

Unit = Literal["word", "character"]

# Written without spaces between words: errors are counted in characters.
_UNSPACED = {"zh", "yue", "ja", "th", "lo", "my", "km", "bo"}
# Combining marks are vowels here; the basic normaliser would strip them and with them the words.
_MARKS_ARE_LETTERS = {
    *("as", "bn", "gu", "hi", "kn", "ml", "mr", "ne", "pa", "sa", "sd", "si", "ta", "te", "ur"),
    *("th", "lo", "my", "km", "bo", "ar", "fa", "he", "yi"),
}


@dataclass(frozen=True)
class Errors:
    """Edits that turn a reference into a hypothesis, in words or characters of the reference."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference_length: int = 0

    @property
    def total(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Percent of the reference; None for an empty one."""
        return 100.0 * self.total / self.reference_length if self.reference_length else None

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.reference_length + other.reference_length,
        )


def language_code(language: str | None) -> str | None:
    """ "English", "<|en|>" and "en" are all "en"."""
    if language is None:
        return None
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    name = language.strip().lower().removeprefix("<|").removesuffix("|>")
    return TO_LANGUAGE_CODE.get(name, name)


def unit(language: str | None) -> Unit:
    """What errors are counted in."""
    return "character" if language_code(language) in _UNSPACED else "word"


def normaliser(language: str | None) -> Callable[[str], str]:
    """Whisper's normaliser for a language; None: the basic one."""
    return _normaliser(language_code(language))


@lru_cache
def _normaliser(code: str | None) -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import (
        BasicTextNormalizer,
        EnglishTextNormalizer,
    )

    if code == "en":
        return EnglishTextNormalizer(_british_to_american())
    return _keep_marks if code in _MARKS_ARE_LETTERS else BasicTextNormalizer()


def _british_to_american() -> dict[str, str]:
    """The spelling table of Whisper's English normaliser (its package's code is not imported)."""
    path = "whisper_normalizer/normalizers/english.json"
    file = distribution("whisper_normalizer").locate_file(path)
    with open(str(file), encoding="utf-8") as text:
        return json.load(text)


def _keep_marks(text: str) -> str:
    """The basic normaliser, but with combining marks left where they are."""
    kept = unicodedata.normalize("NFKC", text.lower())
    spaced = (" " if unicodedata.category(c)[0] in "SP" else c for c in kept)
    return " ".join("".join(spaced).split())


def units(text: str, language: str | None) -> list[str]:
    """Normalised text as a list of words, or of characters without spaces."""
    words = normaliser(language)(text).split()
    return list("".join(words)) if unit(language) == "character" else words


def count_errors(reference: str, hypothesis: str, language: str | None) -> Errors:
    """Align normalised texts with the fewest edits."""
    wanted, got = units(reference, language), units(hypothesis, language)
    if not wanted or not got:
        return Errors(0, len(wanted), len(got), len(wanted))
    aligned = jiwer.process_words(" ".join(wanted), " ".join(got))
    return Errors(aligned.substitutions, aligned.deletions, aligned.insertions, len(wanted))
