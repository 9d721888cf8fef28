"""Students as ggml files: what is in them, and what whisper.cpp makes of them."""

import dataclasses

import jax
import numpy as np
import pytest

from distil_jax.errors import ConfigError, UserError
from distil_jax.export.ggml import check_exportable, text_tokens, verify_files, write_files
from distil_jax.export.ggml_file import read_ggml
from distil_jax.export.ggml_names import openai_name
from distil_jax.models.pretrained import to_state_dict
from tests.made_up import DEMO_TINY, ENGLISH, FAMILIES, LARGE_V3, MULTILINGUAL
from tests.made_up_architecture import HalvedConfig
from tests.made_up_student import as_it_is, made_up_student, real_model, some_logits
from tests.transcribed import labels, recordings

FOURFOLD = {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64}


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return made_up_student(tmp_path_factory.mktemp("tokenizer"), MULTILINGUAL, **FOURFOLD)


def test_what_was_written_is_read_back(tmp_path, student):
    write_files(tmp_path, student)
    result = verify_files(tmp_path, student, some_logits)
    assert result["parameters"] == sum(a.size for a in jax.tree.leaves(student.params))
    assert 0 < result["max_logit_difference"] < 1e-3


def test_verification_names_what_differs(tmp_path, student):
    write_files(tmp_path, student)
    data = bytearray((tmp_path / "ggml-model.bin").read_bytes())
    name = b"decoder.blocks.1.cross_attn.key.weight"
    data[data.index(name) + len(name)] ^= 1
    (tmp_path / "ggml-model.bin").write_bytes(data)
    with pytest.raises(UserError, match=r"layers.1.encoder_attn.k_proj.weight differs"):
        verify_files(tmp_path, student, some_logits)


def test_the_file_holds_what_whisper_cpp_asks_for(tmp_path, student):
    write_files(tmp_path, student)
    content = read_ggml(tmp_path / "ggml-model.bin")
    assert list(content.header.values()) == [51865, 1500, 16, 2, 3, 448, 16, 2, 3, 80, 1]
    assert content.mel_filters.shape == (80, 201)
    assert len(content.tokens) == 50257
    assert b" the" in content.tokens
    shapes = {name: (a.shape, a.dtype) for name, a in content.tensors.items()}
    assert shapes["encoder.conv1.weight"] == ((16, 80, 3), np.float16)
    assert shapes["encoder.conv1.bias"] == ((16, 1), np.float32)
    assert shapes["decoder.positional_embedding"] == ((448, 16), np.float32)
    assert shapes["decoder.blocks.2.cross_attn.key.weight"] == ((16, 16), np.float16)
    assert len(shapes) == 5 + 2 + 2 + 2 + 15 * 3 + 24 * 3


def test_no_two_tensors_have_one_name(student):
    state = to_state_dict(student.config, student.params)
    assert len({openai_name(name) for name in state}) == len(state)
    with pytest.raises(KeyError):
        openai_name("proj_out.weight")


@pytest.mark.parametrize("count", [0, 3, 60, 70_000, -2])
def test_a_file_cut_short_is_named(tmp_path, student, count):
    write_files(tmp_path, student)
    path = tmp_path / "ggml-model.bin"
    path.write_bytes(path.read_bytes()[:count])
    with pytest.raises(UserError, match=r"ggml-model.bin: .*export again"):
        verify_files(tmp_path, student, some_logits)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_of_the_usual_shape_can_be_written(tmp_path, family):
    student = made_up_student(tmp_path, family, **FOURFOLD)
    check_exportable(student.config, student.vocabulary)
    assert len(text_tokens(student.vocabulary)) == student.vocabulary.end
    if family in (ENGLISH, LARGE_V3):
        write_files(tmp_path, student)
        verify_files(tmp_path, student, some_logits)


def test_what_whisper_cpp_takes_for_granted_is_checked(student):
    config, vocabulary = student.config, student.vocabulary
    narrow = config.model_copy(update={"decoder_ffn": 24})
    with pytest.raises(ConfigError, match="four times as wide as the model, 64; those of the deco"):
        check_exportable(narrow, vocabulary)
    moved = dataclasses.replace(vocabulary, no_speech=50361)
    with pytest.raises(ConfigError, match=r"'no_speech': 50362.*'no_speech': 50361"):
        check_exportable(config, moved)
    with pytest.raises(ConfigError, match=r"whisper.cpp has no model 'halved'"):
        check_exportable(HalvedConfig(**config.model_dump()), vocabulary)


@pytest.mark.slow
def test_whisper_cpp_writes_the_text_that_we_write(tmp_path):
    """By its own log-mel, and products in float16."""
    whisper_cpp = pytest.importorskip("pywhispercpp.model", reason="pywhispercpp not installed")
    write_files(tmp_path, as_it_is(real_model(DEMO_TINY)))
    options = {"no_timestamps": True, "temperature_inc": 0.0, "n_threads": 2}
    path = str(tmp_path / "ggml-model.bin")
    model = whisper_cpp.Model(path, redirect_whispercpp_logs_to=None, print_progress=False)
    found = [model.transcribe(clip.samples, language="en", **options) for clip in recordings()[:2]]
    texts = [" ".join(segment.text for segment in segments) for segments in found]
    assert texts == [label.text for label in labels()[:2]]
