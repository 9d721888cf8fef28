"""CTranslate2's layout written: read back by ours, and byte for byte what its converter writes."""

import json

import numpy as np
import pytest

from distil_jax.export import ctranslate2, hugging_face
from distil_jax.models.ctranslate2 import Variables, read_variables
from distil_jax.models.ctranslate2_names import hf_names, variable_name
from distil_jax.models.ctranslate2_whisper import (
    REVISION,
    SPEC,
    converted_config,
    generation_config,
    whisper_state,
    whisper_variables,
)
from distil_jax.models.ctranslate2_writer import rounded, stored, write_variables
from distil_jax.models.pretrained import to_state_dict
from tests.made_up import ENGLISH, LARGE_V3, MULTILINGUAL, TURBO
from tests.made_up_student import made_up_student

WEIGHTS = ("float32", "float16", "int8")


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    student = made_up_student(tmp_path_factory.mktemp("tokenizer"), MULTILINGUAL)
    return to_state_dict(student.config, student.params)


def test_the_name_table_leads_there_and_back(state):
    """Every tensor is in one variable, and every variable is made of tensors, or key biases."""
    variables = {variable_name(name) for name in state} | {"decoder/projection/weight"}
    held = [name for variable in variables for name in hf_names(variable)]
    assert len(held) == len(set(held))
    assert set(held) - set(state) == {
        "proj_out.weight",
        *(f"model.encoder.layers.{i}.self_attn.k_proj.bias" for i in range(3)),
        *(f"model.decoder.layers.{i}.self_attn.k_proj.bias" for i in range(3)),
        *(f"model.decoder.layers.{i}.encoder_attn.k_proj.bias" for i in range(3)),
    }
    for variable in variables:
        assert {variable_name(name) for name in hf_names(variable)} == {variable}
    assert set(whisper_variables(state, 2, 2)) > variables - {"decoder/projection/weight"}


@pytest.mark.parametrize("name", ["model.encoder.layers.0.moe.weight", "lm_head.weight", "x"])
def test_a_tensor_that_no_whisper_has_is_no_variable(name):
    with pytest.raises(KeyError):
        variable_name(name)


def test_variables_are_the_state_and_the_heads(state):
    variables = whisper_variables(state, 2, 4)
    values, again = whisper_state(Variables(SPEC, REVISION, variables, "here", ""))
    assert (values["encoder_attention_heads"], values["decoder_attention_heads"]) == (2, 4)
    assert again.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_what_was_written_is_read_back(tmp_path, state, weights):
    path, aliases = tmp_path / "model.bin", {"a/alias": "decoder/embeddings/weight"}
    variables = whisper_variables(state, 2, 2)
    write_variables(path, SPEC, REVISION, stored(variables, weights), aliases)
    found = read_variables([path])
    assert (found.spec, found.revision) == (SPEC, REVISION)
    assert found.arrays.keys() == variables.keys() | aliases.keys()
    assert found.arrays["a/alias"] is found.arrays["decoder/embeddings/weight"]
    for name, array in variables.items():
        expected = rounded(name, array, weights) if array.ndim else array
        np.testing.assert_array_equal(found.arrays[name], expected, err_msg=name)


def test_int8_is_half_a_step_off_at_most():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6, 5, 3)).astype(np.float32) * 10.0 ** np.arange(-3, 3)[:, None, None]
    array = rows.astype(np.float32)
    steps = np.abs(array).max(axis=(1, 2), keepdims=True) / 127
    error = np.abs(rounded("conv/weight", array, "int8") - array)
    assert np.all(error <= 0.5001 * steps)
    assert np.any(error > 0.4 * steps)
    np.testing.assert_array_equal(rounded("conv/bias", array, "int8"), array)


def test_rows_of_zeros_and_of_next_to_nothing_stay_finite():
    array = np.array([[0, 0], [1e-42, 0], [1, -2]], np.float32)
    found = rounded("a/weight", array, "int8")
    np.testing.assert_allclose(found, array, atol=2 / 127)
    assert not found[0].any()


@pytest.mark.parametrize(
    "family,weights",
    [
        *((MULTILINGUAL, weights) for weights in WEIGHTS),
        (ENGLISH, "float16"),
        (LARGE_V3, "int8"),
        pytest.param(TURBO, "float32", marks=pytest.mark.slow),
    ],
    ids=lambda each: getattr(each, "name", each),
)
def test_the_bytes_are_those_of_ctranslate2_s_own_converter(tmp_path, family, weights):
    """From our Hugging Face folder of the same student."""
    converters = pytest.importorskip("ctranslate2.converters", reason="ctranslate2 not installed")
    pytest.importorskip("torch")
    student = made_up_student(tmp_path, family, d_model=4, encoder_layers=1)
    for name, module in (("ours", ctranslate2), ("hugging_face", hugging_face)):
        (tmp_path / name).mkdir()
        module.write_files(tmp_path / name, student, *[weights] * (module is ctranslate2))
    converter = converters.TransformersConverter(str(tmp_path / "hugging_face"))
    converter.convert(str(tmp_path / "theirs"), quantization=weights)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert (ours / "model.bin").read_bytes() == (theirs / "model.bin").read_bytes()
    vocabularies = [json.loads((each / "vocabulary.json").read_text()) for each in (ours, theirs)]
    assert vocabularies[0] == vocabularies[1]
    configs = [json.loads((each / "config.json").read_text()) for each in (ours, theirs)]
    if family is ENGLISH:  # theirs are not language tokens at all
        assert configs[0].pop("lang_ids") == []
        configs[1].pop("lang_ids")
    assert configs[0] == configs[1]


def test_the_config_is_that_of_the_student():
    values = {"suppress_tokens": [1, 2], "begin_suppress_tokens": [3], "alignment_heads": [[1, 0]]}
    config = converted_config({**values, "max_length": 4}, [9, 8], 2, 2)
    assert config.pop("lang_ids") == [8, 9]
    assert generation_config(dict(config)) == values


def test_where_no_heads_are_known_those_of_the_upper_layers_are_taken():
    config = converted_config({}, [], decoder_layers=3, decoder_heads=2)
    assert config["alignment_heads"] == [[1, 0], [1, 1], [2, 0], [2, 1]]
    assert config["suppress_ids"] == []


def test_large_v3_keeps_its_mels(tmp_path):
    student = made_up_student(tmp_path, LARGE_V3, encoder_layers=1, decoder_layers=1)
    ctranslate2.write_files(tmp_path, student)
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["feature_size"] == 128
    assert read_variables([tmp_path / "model.bin"]).arrays["encoder/conv1/weight"].shape[1] == 128
