"""What the student's configs say: ids of its own vocabulary, heads of its own layers."""

import pytest

from distil_jax.export.config_files import (
    model_config,
    preprocessor_config,
    repaired_generation_config,
)
from distil_jax.models.tokenizer_files import read_tokenizer
from distil_jax.models.vocabulary import make_vocabulary
from distil_jax.models.whisper import WhisperConfig
from tests.made_up import ENGLISH, FAMILIES, LARGE_V3, MULTILINGUAL, write_tokenizer

TEACHER = {
    "alignment_heads": [[0, 1], [3, 2], [3, 5], [5, 0]],
    "forced_decoder_ids": [[1, None]],
    "lang_to_id": {"<|en|>": 1},
    "no_timestamps_token_id": 1,
    "max_initial_timestamp_index": 50,
    "transformers_version": "4.30.0",
    "suppress_tokens": [1, 2],
    "begin_suppress_tokens": [220],
}


@pytest.fixture
def made(tmp_path):
    """A function from a family to (model config, vocabulary)."""

    def make(family, **generation):
        write_tokenizer(tmp_path, family)
        tokenizer = read_tokenizer({"tokenizer.json": tmp_path / "tokenizer.json"}, "made up")
        vocabulary = make_vocabulary(tokenizer, generation, family.vocab_size, "made up")
        return WhisperConfig.from_hf(family.hf_config), vocabulary

    return make


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_ids_come_from_the_vocabulary_not_from_the_teacher(made, family):
    config, vocabulary = made(family, suppress_tokens=[1, 2], begin_suppress_tokens=[220])
    repaired = repaired_generation_config(TEACHER, config, vocabulary, None)
    for values in (repaired, model_config(config, vocabulary, "float32")):
        assert values["decoder_start_token_id"] == family.text_tokens + 1
        assert values["eos_token_id"] == values["pad_token_id"] == family.text_tokens
        assert values["begin_suppress_tokens"] == [220]
    assert repaired["suppress_tokens"] == [1, 2]
    assert repaired["no_timestamps_token_id"] == family.vocab_size - 1502
    assert repaired["max_initial_timestamp_index"] == 50
    assert not {"forced_decoder_ids", "transformers_version"} & repaired.keys()


def test_languages_and_tasks_are_those_of_the_vocabulary(made):
    repaired = repaired_generation_config(TEACHER, *made(LARGE_V3), alignment_heads=None)
    assert repaired["lang_to_id"]["<|yue|>"] == 50358
    assert repaired["task_to_id"] == {"transcribe": 50360, "translate": 50359}
    assert repaired["task"] == "transcribe"
    chosen = repaired_generation_config(
        {"task": "translate"}, *made(LARGE_V3), alignment_heads=None
    )
    assert chosen["task"] == "translate"
    english = repaired_generation_config(
        {**TEACHER, "language": "en"}, *made(ENGLISH), alignment_heads=None
    )
    assert english["is_multilingual"] is False
    assert not {"lang_to_id", "task_to_id", "language"} & english.keys()


def test_alignment_heads_are_the_students_own_or_none(made):
    """Never the teacher's, of which layer 5 would be out of bounds."""
    config, vocabulary = made(MULTILINGUAL)
    assert "alignment_heads" not in repaired_generation_config(TEACHER, config, vocabulary, None)
    found = repaired_generation_config(TEACHER, config, vocabulary, ((0, 1), (2, 0)))
    assert found["alignment_heads"] == [[0, 1], [2, 0]]


def test_empty_lists_are_left_out(made):
    repaired = repaired_generation_config({}, *made(MULTILINGUAL), alignment_heads=None)
    assert not {"suppress_tokens", "begin_suppress_tokens"} & repaired.keys()


def test_the_preprocessor_makes_the_mels_that_the_model_takes(made):
    values = preprocessor_config(made(LARGE_V3)[0])
    assert (values["feature_size"], values["chunk_length"], values["n_samples"]) == (
        128,
        30,
        480000,
    )
