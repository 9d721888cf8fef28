"""Long recordings from window to window: the very segments of transformers' generate.

All windows greedily; tests/longform/test_passages.py has those that are skipped.
"""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from distil_jax.data.quarantine import Quarantine
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.longform.sequential import transcribe_sequential
from distil_jax.longform.transcript import Recording, Transcript
from tests.decodings import transcriber_of
from tests.parity.test_chunked import joined
from tests.real_models import compiled_well, model, segments_of_transformers

pytest.importorskip("torch")
pytest.importorskip("transformers")

BATCH, NEW_TOKENS = 2, 200

well = pytest.fixture(scope="module", autouse=True)(compiled_well)


@cache
def transcriber(name: str) -> tuple[Transcriber, dict]:
    made = transcriber_of(model(name), batch_size=BATCH, max_new_tokens=NEW_TOKENS)
    return made, made.place(model(name).params)


def ours_of(name: str, paths: list[Path], previous: bool) -> list[Transcript]:
    made, params = transcriber(name)
    quarantine = Quarantine(None)
    recordings = [Recording("a", str(path), path) for path in paths]
    found = list(transcribe_sequential(made, params, recordings, quarantine, previous))
    assert [each.recording for each in found] == recordings
    return found


def assert_same(loaded: tuple[Any, Any], paths: list[Path], previous: bool, name: str) -> None:
    for path, ours in zip(paths, ours_of(name, paths, previous), strict=True):
        found = [(s.start, s.end, s.text, s.tokens) for s in ours.segments]
        told = {"language": ours.language, "task": "transcribe"} if name == "base" else {}
        assert found == segments_of_transformers(
            loaded, path, previous, max_new_tokens=NEW_TOKENS, **told
        )
        assert len(ours.text.split()) > ours.duration / 2  # of two words a second


@pytest.mark.very_slow
@pytest.mark.parametrize("previous", [False, True])
def test_recordings_of_the_package(previous, theirs, repository, tmp_path):
    """A long one and one that is shorter than a window, in two rows."""
    folder = repository / "distil_jax/quickstart/test"
    paths = [joined(folder, length, tmp_path / f"{length}.flac", ".opus") for length in (75, 20)]
    assert_same(theirs("tiny.en"), paths, previous, "tiny.en")


@pytest.mark.very_slow
@pytest.mark.shared_data
@pytest.mark.parametrize("previous", [False, True])
@pytest.mark.parametrize("seconds", [600, 3600])
def test_long_recordings(seconds, previous, theirs, shared_data, tmp_path):
    speech, path = shared_data / "speech", tmp_path / "a.flac"
    joined(speech / "en_ljspeech", seconds, path, ".flac", speech / "en_asterisk")
    assert_same(theirs("tiny.en"), [path], previous, "tiny.en")


@pytest.mark.very_slow
@pytest.mark.shared_data
@pytest.mark.parametrize("previous", [False, True])
def test_another_language(previous, theirs, shared_data, tmp_path):
    """It is detected, and transformers is told what was found."""
    path = joined(shared_data / "speech" / "de_kerstin", 60, tmp_path / "a.flac", ".flac")
    assert_same(theirs("base"), [path], previous, "base")
