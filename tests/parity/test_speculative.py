"""Speculative decoding of real recordings: whisper base's very tokens, drafted by a tiny model."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Clip, SpeechConfig, clips, open_corpus
from distil_jax.labelling.draft import Draft, acceptance
from distil_jax.labelling.transcriber import Transcriber
from tests.decodings import transcriber_of
from tests.real_models import compiled_well, model
from tests.tiny_draft import tiny_draft

BATCH, NEW_TOKENS = 8, 96

well = pytest.fixture(scope="module", autouse=True)(compiled_well)


@cache
def transcribers(timestamps: bool) -> tuple[Transcriber, Transcriber, dict]:
    """base alone, base with a draft model, and its parameters."""
    base = model("base")
    plain = transcriber_of(base, batch_size=BATCH, max_new_tokens=NEW_TOKENS, timestamps=timestamps)
    tiny = tiny_draft(base)
    draft = Draft.of(tiny.config, tiny.params, 5, base.config, base.params)
    return plain, replace(plain, draft=draft), plain.place(base.params)


def recordings(folder: Path, count: int) -> list[Clip]:
    corpus = open_corpus("some", SpeechConfig(path=str(folder), language="en", limit=count))
    return list(clips("some", corpus, Quarantine(folder / "nothing is set aside")))


def assert_same(found: list[Clip], timestamps: bool, rate: float) -> None:
    """The same tokens and scores; of the drafts more than `rate` must have been accepted."""
    plain, drafted, params = transcribers(timestamps)
    expected = {clip.id: label for clip, label in plain(params, found)}
    ours = {clip.id: label for clip, label in drafted(params, found)}
    assert {id: label.tokens for id, label in ours.items()} == {
        id: label.tokens for id, label in expected.items()
    }
    for id, label in ours.items():
        assert label.mean_logprob == pytest.approx(expected[id].mean_logprob, abs=1e-5)
        assert label.mean_entropy == pytest.approx(expected[id].mean_entropy, abs=1e-5)
        assert label.no_speech_prob == pytest.approx(expected[id].no_speech_prob, abs=1e-5)
    assert rate < acceptance(drafted.take_drafted())["acceptance_rate"] <= 1


@pytest.mark.very_slow
@pytest.mark.parametrize("timestamps,rate", [(False, 0.4), (True, 0.2)])
def test_recordings_of_the_package(timestamps, rate, repository):
    """tiny.en writes no timestamps when asked as base is, and the more of its drafts are wrong."""
    found = recordings(repository / "distil_jax/quickstart/test", BATCH)
    assert len(found) == BATCH
    assert_same(found, timestamps, rate)


@pytest.mark.very_slow
@pytest.mark.shared_data
def test_two_hundred_recordings(repository, shared_data):
    folders = [repository / f"distil_jax/quickstart/{part}" for part in ("train", "test")]
    folders += [shared_data / "speech" / name for name in ("en_ljspeech", "en_asterisk")]
    found = [clip for folder in folders for clip in recordings(folder, 200)]
    numbered = [replace(clip, id=str(number)) for number, clip in enumerate(found[:200])]
    assert len(numbered) == 200
    assert_same(numbered, timestamps=False, rate=0.4)
