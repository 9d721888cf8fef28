"""Long recordings from window to window: the very segments of transformers' generate.

It decodes with several temperatures only when told; then it draws tokens with random numbers of its
own. So of its thresholds those are compared that lead to no drawing.
"""

from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import soundfile

from distil_jax.data.audio import SAMPLE_RATE, read_audio
from distil_jax.data.quarantine import Quarantine
from distil_jax.labelling.settings import DecodeConfig, FallbackConfig
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.longform.sequential import transcribe_sequential
from distil_jax.longform.transcript import Recording, Transcript
from distil_jax.mesh import MeshConfig, make_mesh
from distil_jax.models.layers import Compute
from tests.parity.test_chunked import joined
from tests.real_models import compiled_well, model, of_transformers

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

BATCH, NEW_TOKENS = 2, 200

well = pytest.fixture(scope="module", autouse=True)(compiled_well)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """name -> (model, processor) of transformers."""
    return cache(lambda name: of_transformers(name, tmp_path_factory.mktemp(name)))


@cache
def transcriber(name: str, fallback: FallbackConfig | None) -> tuple[Transcriber, dict]:
    ours, mesh = model(name), MeshConfig(shape=(1, 1, 1))
    made = Transcriber(
        model=ours.config,
        vocabulary=ours.vocabulary,
        generation_config=ours.generation_config,
        config=DecodeConfig(batch_size=BATCH, max_new_tokens=NEW_TOKENS, fallback=fallback),
        mesh=make_mesh(mesh, jax.devices()[:1]),
        rules=mesh.rules,
        compute=Compute(),
    )
    return made, made.place(ours.params)


def ours_of(
    name: str, paths: list[Path], previous: bool, fallback: FallbackConfig | None = None
) -> list[Transcript]:
    made, params = transcriber(name, fallback)
    quarantine = Quarantine(None)
    recordings = [Recording("a", str(path), path) for path in paths]
    found = transcribe_sequential(made, params, recordings, quarantine, previous)
    transcripts = list(found)
    assert [each.recording for each in transcripts] == recordings
    return transcripts


def theirs_of(loaded: tuple[Any, Any], path: Path, previous: bool, **how: Any) -> list[tuple]:
    """(start, end, text, tokens) of each segment."""
    network, processor = loaded
    features = processor(
        read_audio(path),
        sampling_rate=SAMPLE_RATE,
        return_tensors="pt",
        truncation=False,
        padding="longest",
    ).input_features
    with torch.no_grad():
        found = network.generate(
            features,
            return_timestamps=True,
            return_segments=True,
            condition_on_prev_tokens=previous,
            max_new_tokens=NEW_TOKENS,
            **{"temperature": 0.0, **how},
        )
    return [
        (
            round(float(segment["start"]), 2),
            round(float(segment["end"]), 2),
            processor.tokenizer.decode(segment["tokens"], skip_special_tokens=True),
            segment["tokens"].tolist(),
        )
        for segment in found["segments"][0]
    ]


def segments(transcript: Transcript) -> list[tuple]:
    return [(s.start, s.end, s.text, s.tokens) for s in transcript.segments]


def assert_same(
    loaded: tuple[Any, Any], paths: list[Path], previous: bool, name: str = "tiny.en"
) -> None:
    for path, ours in zip(paths, ours_of(name, paths, previous), strict=True):
        assert segments(ours) == theirs_of(loaded, path, previous)
        assert len(ours.text.split()) > ours.duration / 2  # of two words a second


@pytest.mark.slow
@pytest.mark.parametrize("previous", [False, True])
def test_recordings_of_the_package(previous, theirs, repository, tmp_path):
    """Three of them in turns, in two rows; the last is shorter than a window."""
    folder = repository / "distil_jax/quickstart/test"
    paths = [
        joined(folder, seconds, tmp_path / f"{seconds}.flac", ".opus") for seconds in (75, 40, 12)
    ]
    assert_same(theirs("tiny.en"), paths, previous)
