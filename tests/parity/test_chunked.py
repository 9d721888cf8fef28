"""Long recordings through windows: the very text and segments of transformers' pipeline.

The pipeline searches with 5 beams by itself; and with timestamps it hears the rest of a window a
second time where that ends in the middle of a segment. Both are turned off, as the paper has it:
greedy, each window once.
"""

from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from distil_jax.data.audio import SAMPLE_RATE, read_audio
from distil_jax.data.quarantine import Quarantine
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.longform.chunked import transcribe_chunked
from distil_jax.longform.transcript import Recording, Transcript
from tests.decodings import transcriber_of
from tests.real_models import compiled_well, model

pytest.importorskip("torch")
pytest.importorskip("transformers")

BATCH, NEW_TOKENS = 3, 200

well = pytest.fixture(scope="module", autouse=True)(compiled_well)


@cache
def transcriber(name: str, timestamps: bool, language: str | None) -> tuple[Transcriber, dict]:
    how = {"batch_size": BATCH, "max_new_tokens": NEW_TOKENS}
    made = transcriber_of(model(name), timestamps=timestamps, language=language, **how)
    return made, made.place(model(name).params)


def joined(folder: Path, seconds: float, path: Path, ending: str, *more: Path) -> Path:
    """The first recordings of folders, one after the other with pauses, as one file.

    Once all were there, they come again.
    """
    found, length = [], 0.0
    for file in cycle(file for each in (folder, *more) for file in sorted(each.glob(f"*{ending}"))):
        found += [read_audio(file), np.zeros(SAMPLE_RATE // 4, np.float32)]
        length += (len(found[-2]) + len(found[-1])) / SAMPLE_RATE
        if length >= seconds:
            break
    soundfile.write(path, np.concatenate(found), SAMPLE_RATE)
    return path


def ours_of(name: str, timestamps: bool, language: str | None, path: Path) -> Transcript:
    made, params = transcriber(name, timestamps, language)
    quarantine = Quarantine(None)
    [found] = transcribe_chunked(made, params, [Recording("a", "a", path)], quarantine)
    assert quarantine.count == 0
    return found


def theirs_of(pipeline: Any, timestamps: bool, language: str | None, path: Path) -> dict:
    told = {"language": language, "task": "transcribe"} if language else {}
    once = {"force_unique_generate_call": True} if timestamps else {}
    return pipeline(
        {"raw": read_audio(path), "sampling_rate": SAMPLE_RATE},
        chunk_length_s=30,
        ignore_warning=True,
        batch_size=BATCH,
        return_timestamps=timestamps,
        generate_kwargs={"max_new_tokens": NEW_TOKENS, "num_beams": 1, **told, **once},
    )


def assert_same(
    pipelines: Any, path: Path, timestamps: bool, name: str = "tiny.en", language: str | None = None
) -> None:
    ours = ours_of(name, timestamps, language, path)
    theirs = theirs_of(pipelines(name), timestamps, language, path)
    assert ours.text == theirs["text"].strip()
    if timestamps:
        found = [((s.start, s.end), s.text) for s in ours.segments]
        expected = [(chunk["timestamp"], chunk["text"]) for chunk in theirs["chunks"]]
        if expected and expected[-1][0][1] is None:  # where ours says the end of the recording
            expected[-1] = ((expected[-1][0][0], ours.duration), expected[-1][1])
        assert found == expected
    assert len(ours.text.split()) > ours.duration / 2  # of two words a second


@pytest.mark.very_slow
def test_three_windows(pipelines, repository, tmp_path):
    """Of which the last is short."""
    path = joined(repository / "distil_jax/quickstart/test", 52, tmp_path / "a.flac", ".opus")
    assert_same(pipelines, path, timestamps=True)


@pytest.mark.slow
def test_a_minute(pipelines, repository, tmp_path):
    path = joined(repository / "distil_jax/quickstart/train", 60, tmp_path / "a.flac", ".opus")
    assert_same(pipelines, path, timestamps=False)


@pytest.mark.very_slow
@pytest.mark.parametrize("timestamps", [False, True])
def test_two_minutes(timestamps, pipelines, repository, tmp_path):
    path = joined(repository / "distil_jax/quickstart/train", 120, tmp_path / "a.flac", ".opus")
    assert_same(pipelines, path, timestamps)


@pytest.mark.very_slow
@pytest.mark.shared_data
@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("seconds", [600, 3600])
def test_long_recordings(seconds, timestamps, pipelines, shared_data, tmp_path):
    speech, path = shared_data / "speech", tmp_path / "a.flac"
    joined(speech / "en_ljspeech", seconds, path, ".flac", speech / "en_asterisk")
    assert_same(pipelines, path, timestamps)


@pytest.mark.very_slow
@pytest.mark.shared_data
@pytest.mark.parametrize("timestamps", [False, True])
def test_another_language(timestamps, pipelines, shared_data, tmp_path):
    path = joined(shared_data / "speech" / "de_kerstin", 60, tmp_path / "a.flac", ".flac")
    assert_same(pipelines, path, timestamps, "base", "de")
