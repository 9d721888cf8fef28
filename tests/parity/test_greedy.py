"""Greedy decoding of real recordings by real models: the very tokens of transformers' generate."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Clip, SpeechConfig, clips, open_corpus
from distil_jax.labelling.transcriber import Transcriber
from tests.decodings import transcriber_of
from tests.real_models import compiled_well, model

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

BATCH, NEW_TOKENS = 8, 96

well = pytest.fixture(scope="module", autouse=True)(compiled_well)


def some_clips(folder: Path, count: int) -> list[Clip]:
    corpus = open_corpus("some", SpeechConfig(path=str(folder), limit=count))
    return list(clips("some", corpus, Quarantine(folder / "nothing is set aside")))


@cache
def transcriber(name: str, timestamps: bool) -> tuple[Transcriber, dict]:
    """Of all recordings, so that each of the four is compiled once."""
    how = {"batch_size": BATCH, "max_new_tokens": NEW_TOKENS, "timestamps": timestamps}
    made = transcriber_of(model(name), **how)
    return made, made.place(model(name).params)


def ours_and_prompts(name: str, chosen: list[Clip], timestamps: bool) -> list[list[int]]:
    """Prompt (with the language that was detected) and new tokens, without the end token."""
    decode, params = transcriber(name, timestamps)
    rows = []
    for _, label in decode(params, [replace(clip, language=None) for clip in chosen]):
        prompt = decode.vocabulary.prefix(label.language, "transcribe", timestamps)
        rows.append([*prompt, *label.tokens[: len(label.tokens) - label.ended]])
    return rows


def theirs_and_prompts(loaded: tuple[Any, Any], chosen: list[Clip], timestamps: bool) -> list:
    """The same of transformers."""
    network, processor = loaded
    rows = []
    for first in range(0, len(chosen), BATCH):
        audio = [clip.samples for clip in chosen[first : first + BATCH]]
        features = processor(audio, sampling_rate=16_000, return_tensors="pt").input_features
        with torch.no_grad():
            rows += network.generate(
                features,
                max_new_tokens=NEW_TOKENS,
                return_timestamps=timestamps,
                force_unique_generate_call=True,
            ).tolist()
    end = processor.tokenizer.eos_token_id
    return [row[: row.index(end)] if end in row else row for row in rows]


def assert_same_tokens(name: str, theirs, folder: Path, count: int, timestamps: bool) -> None:
    chosen = some_clips(folder, count)
    ours = ours_and_prompts(name, chosen, timestamps)
    expected = theirs_and_prompts(theirs(name), chosen, timestamps)
    assert len(chosen) == count
    assert {clip.id: row for clip, row in zip(chosen, ours, strict=True)} == {
        clip.id: row for clip, row in zip(chosen, expected, strict=True)
    }


@pytest.mark.parametrize(
    "name,timestamps",
    [
        pytest.param("tiny.en", False, marks=pytest.mark.very_slow),
        pytest.param("tiny.en", True, marks=pytest.mark.very_slow),
        pytest.param("base", True, marks=pytest.mark.very_slow),
    ],
)
def test_recordings_of_the_package(name, timestamps, theirs, repository):
    assert_same_tokens(name, theirs, repository / "distil_jax/quickstart/test", BATCH, timestamps)


@pytest.mark.slow
@pytest.mark.shared_data
def test_another_language(theirs, shared_data):
    """It is detected, clip by clip."""
    assert_same_tokens("base", theirs, shared_data / "speech" / "de_kerstin", BATCH // 2, False)


@pytest.mark.very_slow
@pytest.mark.shared_data
@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("folder", ["de_kerstin", "es_asterisk", "fr_asterisk", "en_ljspeech"])
def test_many_recordings(folder, timestamps, theirs, shared_data):
    assert_same_tokens("base", theirs, shared_data / "speech" / folder, 4 * BATCH, timestamps)
