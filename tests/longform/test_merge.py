"""Merged tokens and segments: those of transformers, on tokens of every kind."""

from typing import Any

import numpy as np
import pytest
from transformers import WhisperTokenizer
from transformers.models.whisper.tokenization_whisper import _find_longest_common_sequence

from distil_jax.export.tokenizer_files import tokenizer_files
from distil_jax.labelling.alignment.aligner import TokenTimes
from distil_jax.longform.merge import Merge, Stride
from distil_jax.longform.overlap import Tokens, merge_tokens
from distil_jax.longform.transcript import Segment
from distil_jax.models.tokenizer_files import read_tokenizer
from distil_jax.models.vocabulary import Vocabulary, make_vocabulary
from tests.made_up import MULTILINGUAL, write_tokenizer


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Vocabulary, WhisperTokenizer]:
    parts, folder = tmp_path_factory.mktemp("parts"), tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(parts, MULTILINGUAL)
    tokenizer = read_tokenizer({path.name: path for path in parts.iterdir()}, "made up")
    vocabulary = make_vocabulary(tokenizer, {}, MULTILINGUAL.vocab_size, "made up")
    for name, text in tokenizer_files(vocabulary, 448).items():
        (folder / name).write_text(text, encoding="utf-8")
    return vocabulary, WhisperTokenizer.from_pretrained(folder)


def theirs(tokenizer: Any, outputs: list[tuple[list[int], Stride]]) -> list[tuple]:
    given = [{"tokens": np.array([tokens]), "stride": tuple(s)} for tokens, s in outputs]
    text, optional = tokenizer._decode_asr(
        given, return_timestamps=True, return_language=False, time_precision=0.02
    )
    assert text == "".join(chunk["text"] for chunk in optional["chunks"])
    return [(*chunk["timestamp"], chunk["text"]) for chunk in optional["chunks"]]


def ours(vocabulary: Vocabulary, outputs: list[tuple[list[int], Stride]]) -> list[tuple]:
    merge = Merge(vocabulary)
    segments = [segment for tokens, stride in outputs for segment in merge.add(tokens, stride)]
    return [(s.start, s.end, s.text) for s in [*segments, *merge.finish()]]


def overlapping(rng: np.random.Generator, kinds: int, windows: int) -> list[list[int]]:
    """Windows over one long sequence, with tokens lost, added and changed in each."""
    whole = rng.integers(0, kinds, 40 * windows)
    cut = []
    for number in range(windows):
        first = 15 * number + rng.integers(-3, 4)
        tokens = whole[max(first, 0) : first + 25 + rng.integers(-8, 8)].tolist()
        for _ in range(rng.integers(0, 5)):
            place = int(rng.integers(0, len(tokens) + 1))
            tokens[place : place + int(rng.integers(0, 3))] = [int(rng.integers(0, kinds))] * int(
                rng.integers(0, 3)
            )
        cut.append(tokens if rng.random() > 0.05 else [])
    return cut


def merged_ids(sequences: list[list[int]]) -> list[int]:
    return merge_tokens([Tokens(ids, []) for ids in sequences]).ids


@pytest.mark.parametrize("kinds", [2, 5, 50, 5000])
def test_overlaps_are_merged_as_transformers_merges_them(kinds):
    rng = np.random.default_rng(kinds)
    shorter = 0
    for _ in range(120):
        sequences = overlapping(rng, kinds, int(rng.integers(1, 6)))
        merged = merged_ids(sequences)
        assert merged == _find_longest_common_sequence(sequences)
        shorter += len(merged) < sum(map(len, sequences))
    assert shorter > 60


def test_the_oddities_of_the_score():
    """One equal token is no overlap; of equal shares the longer overlap wins."""
    assert merged_ids([[1, 2, 3], [3, 4, 5]]) == [1, 2, 3, 3, 4, 5]
    assert merged_ids([[1, 2, 3], [2, 3, 4]]) == [1, 2, 3, 4]
    assert merged_ids([[7, 7, 7], [7, 7, 7]]) == [7, 7, 7]
    assert merged_ids([[], [1, 2], []]) == [1, 2]


def written(rng: np.random.Generator, names: Vocabulary, seconds: float, anew: bool) -> list[int]:
    """Text between pairs of timestamps, as rules allow it, or with stamps that go back or lack."""
    tokens: list[int] = []
    last = int(seconds / 0.02)
    stamp = int(rng.integers(0, 60))
    while stamp < last:
        tokens += [names.first_timestamp + stamp]
        tokens += rng.integers(300, 330, rng.integers(0, 12)).tolist()
        stamp += int(rng.integers(0, 500))
        if stamp < last and rng.random() < 0.9:
            tokens += [names.first_timestamp + stamp]
        stamp += int(rng.integers(0, 2)) * int(rng.integers(0, 50))
        if anew and rng.random() < 0.2:
            stamp = int(rng.integers(0, 100))
            if rng.random() < 0.2:
                break
    others = [names.end, names.no_speech, names.start, names.transcribe]
    if rng.random() < 0.7:
        tokens.append(names.end)
    if rng.random() < 0.3:
        tokens.insert(int(rng.integers(0, len(tokens) + 1)), others[int(rng.integers(0, 4))])
    return tokens


def strides(rng: np.random.Generator, windows: int) -> list[Stride]:
    chunk = float(rng.choice([30.0, 25.0, 15.0]))
    stride = round(chunk / 6 * 16_000) / 16_000
    made = [
        Stride(chunk, stride if n else 0.0, stride if n < windows - 1 else 0.0)
        for n in range(windows)
    ]
    left = 2 * stride if windows > 1 else 0.1
    made[-1] = made[-1]._replace(length=float(rng.uniform(left, chunk)))
    return made


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_segments_are_those_of_transformers(both, anew, seed):
    rng = np.random.default_rng(seed)
    vocabulary, tokenizer = both
    count = 0
    for _ in range(150):
        windows = strides(rng, int(rng.integers(1, 7)))
        outputs = [(written(rng, vocabulary, s.length, anew), s) for s in windows]
        expected = theirs(tokenizer, outputs)
        assert ours(vocabulary, outputs) == expected
        count += len(expected)
    assert count > 600


@pytest.mark.parametrize("seed", range(4))
def test_any_tokens_at_all(both, seed):
    """No rule kept: text, timestamps and special tokens in any order."""
    rng = np.random.default_rng(seed)
    vocabulary, tokenizer = both
    zero = vocabulary.first_timestamp
    kinds = [*range(300, 320), *range(zero, zero + 1501, 50), vocabulary.end, vocabulary.no_speech]
    for _ in range(150):
        windows = strides(rng, int(rng.integers(1, 6)))
        outputs = [(rng.choice(kinds, rng.integers(0, 40)).tolist(), s) for s in windows]
        assert ours(vocabulary, outputs) == theirs(tokenizer, outputs)


def times_of(rng: np.random.Generator, tokens: list[int], seconds: float) -> TokenTimes:
    """When tokens end: in order, and at times together."""
    ends = np.sort(rng.integers(0, int(seconds / 0.02) // 3 + 1, len(tokens))) * 0.06
    return TokenTimes(ends.astype(np.float32), rng.random(len(tokens)))


@pytest.mark.parametrize("ruled", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_words_are_those_of_transformers(both, ruled, seed):
    """Only tokens whose times allow it are taken for the same, and keep their own."""
    rng = np.random.default_rng(seed)
    vocabulary, tokenizer = both
    zero = vocabulary.first_timestamp
    kinds = [*range(250, 260), *range(300, 306), *range(zero, zero + 1501, 150), vocabulary.end]
    count = differ = 0
    for _ in range(150):
        outputs = []
        for stride in strides(rng, int(rng.integers(1, 6))):
            tokens = rng.choice(kinds, rng.integers(0, 40)).tolist()
            tokens = written(rng, vocabulary, stride.length, False) if ruled else tokens
            outputs.append((tokens, stride, times_of(rng, tokens, stride.length)))
        given = [
            {"tokens": np.array([t]), "stride": tuple(s), "token_timestamps": times.ends[None]}
            for t, s, times in outputs
        ]
        _, expected = tokenizer._decode_asr(
            given, return_timestamps="word", return_language=False, time_precision=0.02
        )
        merge = Merge(vocabulary, "en")
        segments = [each for output in outputs for each in merge.add(*output)] + merge.finish()
        words = [word for segment in segments for word in segment.words or []]
        found = [{"text": w.text, "timestamp": (w.start, w.end)} for w in words]
        assert found == expected["chunks"]
        count += len(words)
        plain = ours(vocabulary, [(t, s) for t, s, _ in outputs])
        differ += [s.text for s in segments] != [text for *_, text in plain]
    assert count > 600
    assert ruled or differ > 3, "times changed no merge"


def test_without_timestamps_all_is_one_segment(both):
    vocabulary, tokenizer = both
    text = list(range(300, 360))
    outputs = [
        ([*text[:30], vocabulary.end], Stride(30.0, 0.0, 5.0)),
        ([*text[20:], vocabulary.end], Stride(25.0, 5.0, 0.0)),
    ]
    merge = Merge(vocabulary)
    assert [merge.add(*each) for each in outputs] == [[], []]
    assert merge.finish() == [Segment(None, None, vocabulary.decode(text), text)]
    assert ours(vocabulary, outputs) == theirs(tokenizer, outputs)


def test_no_windows_make_no_segments(both):
    assert Merge(both[0]).finish() == []
    assert ours(both[0], [([], Stride(2.0, 0.0, 0.0))]) == []
