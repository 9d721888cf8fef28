"""Text as error rates see it: normalised, in words or characters, and aligned.

Whisper's own normalisers (Radford et al. 2022, appendix C): the English one for English only, the
basic one for all other languages, so that English figures compare with the papers'.
"""

import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import jiwer

Unit = Literal["word", "character"]

# Their capital of i is İ, and that of ı is I, which Unicode's lower case alone does not know.
_DOTTED = {"tr", "az"}
# Written without spaces between words: errors are counted in characters.
_UNSPACED = {"zh", "yue", "ja", "th", "lo", "my", "km", "bo"}


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
    """ "English", "<|en|>", "en-US" and "en" are all "en". What Whisper has no code for stays."""
    if language is None:
        return None
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    name = language.strip().lower().removeprefix("<|").removesuffix("|>")
    primary = name.replace("_", "-").partition("-")[0]
    return TO_LANGUAGE_CODE.get(name, primary if primary in languages() else name)


@cache
def languages() -> frozenset[str]:
    """The codes of the languages that Whisper knows."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    return frozenset(LANGUAGES)


def unit(language: str | None) -> Unit:
    """What errors are counted in."""
    return "character" if language_code(language) in _UNSPACED else "word"


def normaliser(language: str | None) -> Callable[[str], str]:
    """Whisper's normaliser for a language; None: the basic one.

    The basic one keeps combining marks: Whisper's own puts a space in their place, which takes the
    vowels out of Indic words and divides them. Text whose marks all compose is the same in both.
    Turkish and Azerbaijani I and İ become ı and i, so that "İyi" and "iyi" are one word.
    """
    return _normaliser(language_code(language))


@cache
def _normaliser(code: str | None) -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import (
        BasicTextNormalizer,
        EnglishTextNormalizer,
    )

    if code == "en":
        return EnglishTextNormalizer(_british_to_american())
    basic = BasicTextNormalizer()
    basic.clean = _without_symbols
    return (lambda s: basic(_dotted_lower(s))) if code in _DOTTED else basic


def _dotted_lower(s: str) -> str:
    """The two letters whose lower case differs from that of other languages."""
    return unicodedata.normalize("NFC", s).replace("I", "ı").replace("İ", "i")


def _british_to_american() -> dict[str, str]:
    """The spelling table of Whisper's English normaliser; neither transformers nor CTranslate2
    folders have it."""
    import whisper_normalizer  # holds a version and the table; its normalisers are not imported

    table = files(whisper_normalizer).joinpath("normalizers/english.json")
    return json.loads(table.read_text(encoding="utf-8"))


def _without_symbols(s: str) -> str:
    """Symbols and punctuation become spaces; marks stay with the letter that they belong to."""
    kept: list[str] = []
    for character in unicodedata.normalize("NFKC", s):
        kind = unicodedata.category(character)[0]
        stays = kind not in "MSP" or (kind == "M" and kept and not kept[-1].isspace())
        kept.append(character if stays else " ")
    return "".join(kept)


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
