"""Paths, smoothing, words and heads: those of transformers, and what was planted."""

from typing import Any

import numpy as np
import pytest

from distil_jax.export.tokenizer_files import tokenizer_files
from distil_jax.labelling.alignment.token_times import ends_by_heads, evidence, frames, token_ends
from distil_jax.labelling.alignment.warping import first_frames
from distil_jax.labelling.alignment.words import TokenTime, Word, split_words, timed_words
from distil_jax.models.tokenizer_files import read_tokenizer
from distil_jax.models.vocabulary import Vocabulary, make_vocabulary
from tests.made_up import MULTILINGUAL, write_tokenizer
from tests.real_models import model

torch = pytest.importorskip("torch")
generation = pytest.importorskip("transformers.models.whisper.generation_whisper")
tokenization = pytest.importorskip("transformers.models.whisper.tokenization_whisper")


@pytest.mark.parametrize("kinds", [2, 4, None])
def test_paths_are_those_of_transformers(kinds):
    """Also among equal costs, of which there are many."""
    rng = np.random.default_rng(kinds or 0)
    for _ in range(40):
        shape = 3, int(rng.integers(1, 25)), int(rng.integers(1, 60))
        cost = rng.integers(0, kinds, shape).astype(float) if kinds else rng.normal(size=shape)
        for got, matrix in zip(first_frames(cost), cost, strict=True):
            tokens, times = generation._dynamic_time_warping(matrix)
            np.testing.assert_array_equal(got, times[np.diff(tokens, prepend=-1) == 1])


def test_a_path_over_more_tokens_than_frames():
    assert first_frames(np.zeros((1, 4, 2))).shape == (1, 4)
    diagonal = 1.0 - np.eye(5)[None]
    assert first_frames(diagonal).tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("width", [3, 4, 50])
def test_smoothing_is_that_of_transformers(width):
    weights = np.random.default_rng(0).random((4, 9, width)).astype(np.float32)
    theirs = torch.tensor(weights)[None]
    mean, deviation = theirs.mean(-2, keepdim=True), theirs.std(-2, keepdim=True, unbiased=False)
    theirs = generation._median_filter((theirs - mean) / deviation, 7)[0].numpy()
    np.testing.assert_allclose(evidence(weights), theirs, atol=1e-5)


def test_sound_alone_counts():
    """A clip of a second has 50 positions, whatever heads see behind it."""
    assert [frames(n) for n in (480_000, 16_000, 16_001, 1)] == [1500, 50, 50, 1]
    weights = np.zeros((2, 3, 1500), np.float32)
    weights[:, [0, 1, 2], [10, 20, 30]] = weights[:, [0, 1, 2], [11, 21, 31]] = 0.1
    weights = weights + np.roll(weights, 2, axis=2) + np.roll(weights, 4, axis=2)
    weights[:, :, 50:] = np.random.default_rng(0).random((2, 3, 1450))
    ends = ends_by_heads(weights, 16_000)
    assert ends.tolist() == pytest.approx([0.0, 0.4, 0.6, 0.6])
    assert ends_by_heads(weights[:, :0], 16_000).tolist() == [0.0]
    one = ends_by_heads(weights[:, :1], 16_000)
    assert one.tolist() == [0.0, 0.0], "one token alone begins at the beginning"
    assert token_ends(evidence(weights[:, :, :50])).shape == (2, 4)


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Vocabulary, Any]:
    parts, folder = tmp_path_factory.mktemp("parts"), tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(parts, MULTILINGUAL)
    tokenizer = read_tokenizer({path.name: path for path in parts.iterdir()}, "made up")
    vocabulary = make_vocabulary(tokenizer, {}, MULTILINGUAL.vocab_size, "made up")
    return vocabulary, transformers_tokenizer(vocabulary, folder)


def transformers_tokenizer(vocabulary: Vocabulary, folder) -> Any:
    for name, text in tokenizer_files(vocabulary, 448).items():
        (folder / name).write_text(text, encoding="utf-8")
    return tokenization.WhisperTokenizer.from_pretrained(folder)


def assert_same_words(vocabulary, tokenizer, tokens: list[int], code: str, name: str) -> None:
    texts, groups, _ = tokenization._combine_tokens_into_words(tokenizer, tokens, name)
    found = split_words(vocabulary, tokens, code)
    assert [(each.text, each.tokens) for each in found] == list(zip(texts, groups, strict=True))


@pytest.mark.parametrize("code, name", [("de", "german"), ("ja", "japanese")])
def test_words_are_those_of_transformers(both, code, name):
    """Of any bytes at all: broken characters, punctuation and spaces in every order."""
    vocabulary, tokenizer = both
    rng = np.random.default_rng(0)
    likely = vocabulary.encode(' the (a, "b" \' 。、！ ¿ü? [-) ;: ) …文字ไท')
    for _ in range(300):
        tokens = rng.choice([*likely, *range(256)], rng.integers(0, 25)).tolist()
        if rng.random() < 0.7:
            tokens = rng.choice(likely, rng.integers(0, 25)).tolist()
        assert_same_words(vocabulary, tokenizer, tokens, code, name)


TEXTS = {
    ("en", "english"): " \"Well,\" he said, 'it is -- 3,000 (or so) dollars...' Don't?! naïve 12%.",
    ("de", "german"): " Grüß Gott – „schöne“ Straße; 1. Mai, Österreichs [Alpen].",
    ("ja", "japanese"): "今日は、いい天気ですね。「はい」と彼は言った！ OK 123",
    ("zh", "chinese"): "你好，世界！这是一个测试：3.14。",
    ("th", "thai"): "สวัสดีครับ วันนี้อากาศดี",
}


@pytest.mark.parametrize("language", TEXTS, ids=lambda language: language[0])
def test_words_of_a_real_vocabulary(language, tmp_path):
    vocabulary = model("base").vocabulary
    tokenizer = transformers_tokenizer(vocabulary, tmp_path)
    tokens = vocabulary.encode(TEXTS[language])
    assert_same_words(vocabulary, tokenizer, tokens, *language)
    words = split_words(vocabulary, tokens, language[0])
    assert sum(len(word.tokens) for word in words) == len(tokens)
    assert 5 < len(words) < len(tokens)


def test_a_word_begins_with_its_first_token_and_ends_with_its_last(both):
    vocabulary, _ = both
    tokens = vocabulary.encode(" the cat.")
    times = [TokenTime(i / 10, (i + 1) / 10, i / 8) for i in range(len(tokens))]
    the, cat = timed_words(vocabulary, tokens, times, "en")
    assert the == Word(" the", 0.0, 0.1, 0.0)
    assert (cat.text, cat.start, cat.end) == (" cat.", 0.1, 0.6)
    assert cat.probability == pytest.approx(3 / 8)
