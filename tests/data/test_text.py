"""Normalising, counting, and the names of languages."""

import random
import subprocess
import sys

import pytest

from distil_jax.data.text import Errors, count_errors, language_code, languages, normaliser, unit


def test_english_is_normalised_as_whisper_does():
    english = normaliser("english")
    assert english("Colour isn't FIVE dollars, um, [noise] Mr. Smith's") == (
        "color is not $5 mister smith is"
    )
    assert english("twenty-one per cent") == "21%"
    assert normaliser("en") is normaliser("<|en|>") is english


def test_other_languages_get_the_basic_one():
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    for text in ("Äpfel & Birnen, (leise) fünf!", "¿Qué? ¡No! [risas] señor", "Ça va: l'été"):
        for language in ("de", "es", None):
            assert normaliser(language)(text) == BasicTextNormalizer()(text)


@pytest.mark.parametrize(
    "language,text",
    [
        ("hi", "हिन्दी में"),
        ("ta", "தமிழ் மொழி"),
        ("bn", "বাংলা ভাষা"),
        ("yo", "ẹ́kọ́ ni"),
        ("ar", "مُحَمَّد قال"),
    ],
)
def test_vowel_signs_stay(language, text):
    assert normaliser(language)(text + "!").split() == text.split()
    assert normaliser(None)(text).split() == text.split()


def test_turkish_capitals_are_those_of_turkish():
    for code in ("tr", "az", "Turkish"):
        assert normaliser(code)("İstanbul IŞIK I\u0307yi").split() == ["istanbul", "ışık", "iyi"]
        assert count_errors("İyi günler", "iyi günler", code).total == 0
    assert normaliser("de")("IN").split() == ["in"]


def test_a_mark_without_a_letter_is_a_symbol():
    assert normaliser("de")("gut ❤\ufe0f so").split() == ["gut", "so"]


def test_errors_of_words():
    assert count_errors("The cat sat down", "a cat sat right down", "en") == Errors(1, 0, 1, 4)
    assert count_errors("one two three", "two", "de") == Errors(0, 2, 0, 3)
    assert count_errors("one two three", "two", "de").rate == pytest.approx(200 / 3)


def test_errors_of_characters_where_words_are_not_spaced():
    assert count_errors("今日は 良い天気。", "今日は良い電気", "japanese") == Errors(1, 0, 0, 7)
    for language in ("zh", "ja", "th", "lo", "my", "yue", "km", "bo", "Chinese", "<|ja|>"):
        assert unit(language) == "character"
    assert unit("en") == unit("ko") == unit(None) == "word"


def test_empty_texts():
    assert count_errors("", "", "en") == Errors()
    assert count_errors("...", "hello there", "de") == Errors(0, 0, 2, 0)
    assert count_errors("hello there", " ", "en") == Errors(0, 2, 0, 2)
    assert count_errors("", "word", "en").rate is None


def test_errors_add_up():
    assert sum([Errors(1, 2, 3, 10), Errors(0, 1, 0, 10)], Errors()) == Errors(1, 3, 3, 20)
    assert (Errors(1, 2, 3, 10) + Errors(0, 1, 0, 10)).rate == 35.0


@pytest.mark.parametrize(
    "name,code",
    [
        *(("English", "en"), ("<|en|>", "en"), (" EN ", "en"), ("en-US", "en"), ("pt_BR", "pt")),
        *(("mandarin", "zh"), ("cantonese", "yue"), ("haitian creole", "ht"), (None, None)),
        ("klingon", "klingon"),
    ],
)
def test_names_of_languages(name, code):
    assert language_code(name) == code
    assert "klingon" not in languages()


def test_no_text_breaks_the_normalisers():
    rng = random.Random(0)
    pieces = [*"0123456789 ./,$£%'-½²٣①〇ñक\u093f\u0301❤", " one ", " hundred ", " point ", " oh "]
    for _ in range(2000):
        text = "".join(rng.choices(pieces, k=rng.randint(0, 9)))
        for language in ("en", "de", "ja"):
            assert count_errors(text, text, language).total == 0


def test_torch_is_not_needed():
    code = (
        "import sys; sys.modules['torch'] = None; from distil_jax.data.text import count_errors; "
        "assert count_errors('grey', 'gray', 'en').total == 0; assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
