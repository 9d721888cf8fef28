"""Students as CTranslate2 folders: what is in them, and what faster-whisper makes of them."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distil_jax.data.batch import pad_samples
from distil_jax.data.speech import Clip
from distil_jax.errors import ConfigError, UserError
from distil_jax.export.ctranslate2 import check_exportable, token_names, verify_files, write_files
from distil_jax.models.log_mel import CLIP_SAMPLES, log_mel
from tests.made_up import DEMO_TINY, MULTILINGUAL
from tests.made_up_architecture import HalvedConfig
from tests.made_up_student import as_it_is, made_up_student, real_model, some_logits
from tests.transcribed import COUNT, NEW_TOKENS, labels, recordings

WEIGHTS = ("float32", "float16", "int8")


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return made_up_student(tmp_path_factory.mktemp("tokenizer"), MULTILINGUAL)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_what_was_written_is_read_back(tmp_path, student, weights):
    write_files(tmp_path, student, weights)
    result = verify_files(tmp_path, student, some_logits, weights)
    assert result["parameters"] == sum(a.size for a in jax.tree.leaves(student.params))
    assert (result["max_logit_difference"] == 0) == (weights == "float32")


def test_verification_names_what_differs(tmp_path, student):
    write_files(tmp_path, student)
    data = bytearray((tmp_path / "model.bin").read_bytes())
    name = b"encoder/layer_1/self_attention/linear_1/weight\0"
    data[data.index(name) + len(name) + 20] ^= 1
    (tmp_path / "model.bin").write_bytes(data)
    with pytest.raises(UserError, match=r"encoder.layers.1.self_attn.out_proj.weight differs"):
        verify_files(tmp_path, student, some_logits)


def test_the_files_say_what_faster_whisper_asks_for(tmp_path, student):
    write_files(tmp_path, student)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["alignment_heads"] == [[0, 1], [2, 0]]
    assert config["lang_ids"] == list(range(50259, 50259 + 99))
    assert (config["suppress_ids"], config["suppress_ids_begin"]) == ([1, 2, 7], [220, 50257])
    names = json.loads((tmp_path / "vocabulary.json").read_text())
    assert names == token_names(student.vocabulary)
    assert (names[0], names[50257], names[-1]) == ("!", "<|endoftext|>", "<|30.00|>")
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["feature_size"] == 80


def test_another_architecture_is_refused(student):
    halved = HalvedConfig(**student.config.model_dump())
    with pytest.raises(ConfigError, match="CTranslate2 has no model 'halved'"):
        check_exportable(halved, student.vocabulary)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """whisper tiny.en as we export it."""
    folder = tmp_path_factory.mktemp("tiny")
    write_files(folder, as_it_is(real_model(DEMO_TINY)))
    return folder


@pytest.mark.very_slow
def test_ctranslate2_decodes_the_very_tokens_that_we_decode(tiny):
    """From the same log-mel."""
    engine = pytest.importorskip("ctranslate2", reason="ctranslate2 not installed")
    vocabulary = real_model(DEMO_TINY).vocabulary
    samples = pad_samples([clip.samples for clip in recordings()], CLIP_SAMPLES)
    mel = np.ascontiguousarray(np.asarray(log_mel(jnp.asarray(samples), 80)).swapaxes(1, 2))
    model = engine.models.Whisper(str(tiny), compute_type="float32")
    assert not model.is_multilingual
    prompt = vocabulary.prefix()
    found = model.generate(
        engine.StorageView.from_array(mel),
        [prompt] * COUNT,
        beam_size=1,
        max_length=len(prompt) + NEW_TOKENS,
        suppress_blank=True,
        suppress_tokens=[-1],
    )
    expected = [label.tokens[: len(label.tokens) - label.ended] for label in labels()]
    assert [list(each.sequences_ids[0]) for each in found] == expected
    assert all(len(tokens) > 3 for tokens in expected)


def transcribe(model: Any, clip: Clip, **options: Any) -> str:
    settings = {"beam_size": 1, "temperature": 0, "without_timestamps": True, **options}
    return "".join(segment.text for segment in model.transcribe(clip.samples, **settings)[0])


@pytest.mark.slow
def test_faster_whisper_writes_the_text_that_we_write(tiny):
    """By its own log-mel, which differs at the end of a clip: it pads features, we pad sound."""
    faster_whisper = pytest.importorskip("faster_whisper", reason="faster-whisper not installed")
    model = faster_whisper.WhisperModel(str(tiny), device="cpu", compute_type="float32")
    texts = [transcribe(model, clip).strip() for clip in recordings()]
    assert texts == [label.text for label in labels()]


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param("float16", marks=pytest.mark.very_slow),
        pytest.param("int8", marks=pytest.mark.very_slow),
    ],
)
def test_faster_whisper_reads_smaller_weights_and_times_words(tmp_path, weights):
    faster_whisper = pytest.importorskip("faster_whisper", reason="faster-whisper not installed")
    write_files(tmp_path, as_it_is(real_model(DEMO_TINY)), weights)
    model = faster_whisper.WhisperModel(str(tmp_path), device="cpu")
    assert transcribe(model, recordings()[0]).strip() == labels()[0].text
    found = model.transcribe(recordings()[0].samples, beam_size=1, word_timestamps=True)[0]
    words = [word for segment in found for word in segment.words or []]
    assert len(words) == len(labels()[0].text.split())
    assert all(0 <= word.start <= word.end <= 30 for word in words)
