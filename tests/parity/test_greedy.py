"""Greedy decoding of real recordings by real models: the very tokens of transformers' generate."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import pytest

from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Clip, SpeechConfig, clips, open_corpus
from distil_jax.errors import UserError
from distil_jax.export.hugging_face import write_folder
from distil_jax.labelling.settings import DecodeConfig
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.mesh import MeshConfig, make_mesh
from distil_jax.models.layers import Compute
from distil_jax.models.pretrained import Pretrained, load_pretrained
from tests.made_up import DEMO_BASE, DEMO_TINY

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

MODELS = {"tiny.en": DEMO_TINY, "base": DEMO_BASE}
BATCH, NEW_TOKENS = 8, 96


@pytest.fixture(scope="module", autouse=True)
def compiled_well():
    """Models of this size compute for longer than the compiler takes."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update(
        "jax_disable_most_optimizations", os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
    )


@cache
def model(name: str) -> Pretrained:
    try:
        return load_pretrained(MODELS[name])
    except UserError as error:
        if "is installed here" not in str(error):
            raise
        pytest.skip(f"the demo packages are not installed: {error}")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """name -> (model, processor) of transformers, from the folder that we export."""

    @cache
    def load(name: str) -> tuple[Any, Any]:
        ours, folder = model(name), tmp_path_factory.mktemp(name)
        layers = list(range(ours.config.decoder_layers))
        write_folder(
            folder, ours.config, ours.params, ours.vocabulary, ours.generation_config, "", layers
        )
        loaded = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
        return loaded.eval(), transformers.WhisperProcessor.from_pretrained(folder)

    return load


def some_clips(folder: Path, count: int) -> list[Clip]:
    corpus = open_corpus("some", SpeechConfig(path=str(folder), limit=count))
    return list(clips("some", corpus, Quarantine(folder / "nothing is set aside")))


@cache
def transcriber(name: str, timestamps: bool) -> tuple[Transcriber, dict]:
    """Of all recordings, so that each of the four is compiled once."""
    ours, mesh = model(name), MeshConfig(shape=(1, 1, 1))
    made = Transcriber(
        model=ours.config,
        vocabulary=ours.vocabulary,
        generation_config=ours.generation_config,
        config=DecodeConfig(batch_size=BATCH, max_new_tokens=NEW_TOKENS, timestamps=timestamps),
        mesh=make_mesh(mesh, jax.devices()[:1]),
        rules=mesh.rules,
        compute=Compute(),
    )
    return made, made.place(ours.params)


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
        ("tiny.en", True),
        pytest.param("tiny.en", False, marks=pytest.mark.slow),
        pytest.param("base", False, marks=pytest.mark.slow),
        pytest.param("base", True, marks=pytest.mark.slow),
    ],
)
def test_recordings_of_the_package(name, timestamps, theirs, repository):
    assert_same_tokens(name, theirs, repository / "distil_jax/quickstart/test", BATCH, timestamps)


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("folder", ["de_kerstin", "es_asterisk", "fr_asterisk", "en_ljspeech"])
def test_many_recordings(folder, timestamps, theirs, shared_data):
    """The language is detected, clip by clip."""
    assert_same_tokens("base", theirs, shared_data / "speech" / folder, 2 * BATCH, timestamps)
