"""Folders are written in one stroke and verified; what is wrong with one is named."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from distil_jax.errors import UserError
from distil_jax.export import hugging_face
from distil_jax.export.hugging_face import verify_files, write_folder
from distil_jax.export.student import Student
from distil_jax.models.pretrained import name_table
from distil_jax.models.state_dict import lookup
from distil_jax.models.tokenizer_files import read_tokenizer
from distil_jax.models.vocabulary import make_vocabulary
from distil_jax.models.whisper import WhisperConfig, init
from tests.made_up import MULTILINGUAL, write_tokenizer

GENERATION = {"suppress_tokens": [1, 2], "begin_suppress_tokens": [220, 50257]}
CONFIG = WhisperConfig.from_hf(MULTILINGUAL.hf_config)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """(config, params, vocabulary) of a small random model."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, MULTILINGUAL)
    tokenizer = read_tokenizer({"tokenizer.json": folder / "tokenizer.json"}, "made up")
    params = jax.tree.map(np.asarray, init(CONFIG))
    return CONFIG, params, make_vocabulary(tokenizer, GENERATION, CONFIG.vocab_size, "made up")


def logits(params):
    """Stands for a forward pass: something that depends on a parameter."""
    return np.asarray(params["decoder"]["embedding"][:9], np.float32)


def write(path, student, **options):
    write_folder(path, *student, generation_config=GENERATION, card="# A card", **options)


def verify(path, student, logits=logits):
    return verify_files(path, Student(*student, teacher_generation_config=GENERATION), logits)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_was_written_is_read_back(tmp_path, student, dtype):
    path = tmp_path / "runs" / "one" / "export"
    write(path, student, dtype=dtype)
    result = verify_files(
        path, Student(*student, teacher_generation_config=GENERATION), logits, dtype
    )
    assert result["parameters"] == sum(a.size for a in jax.tree.leaves(student[1]))
    assert (result["max_logit_difference"] == 0) == (dtype == "float32")
    assert json.loads((path / "config.json").read_text())["torch_dtype"] == dtype
    assert (path / "README.md").read_text() == "# A card"


def test_sharded_device_arrays_can_be_written(tmp_path, student):
    config, params, vocabulary = student
    write(tmp_path / "e", (config, jax.tree.map(jax.numpy.asarray, params), vocabulary))
    verify(tmp_path / "e", student)


def test_the_same_student_gives_the_same_bytes(tmp_path, student):
    for name in ("a", "b"):
        write(tmp_path / name, student)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_a_new_export_replaces_the_old_one_whole(tmp_path, student):
    write(tmp_path / "export", student)
    (tmp_path / "export" / "leftover").write_text("x")
    (tmp_path / ".export.partial").mkdir()  # of a run that was killed
    (tmp_path / ".export.partial" / "leftover").write_text("x")
    write(tmp_path / "export", student)
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert not (tmp_path / "export" / "leftover").exists()


def test_a_failure_leaves_the_old_export_as_it_was(tmp_path, student, monkeypatch):
    write(tmp_path / "export", student)
    before = (tmp_path / "export" / "model.safetensors").stat().st_ino

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(hugging_face, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "export", student)
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert (tmp_path / "export" / "model.safetensors").stat().st_ino == before


def test_a_folder_that_is_no_model_is_never_replaced(tmp_path, student):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"not a model \(it holds thesis.tex"):
        write(tmp_path, student)
    assert (tmp_path / "thesis.tex").exists()


def test_verification_names_what_differs(tmp_path, student):
    config, params, vocabulary = student
    write(tmp_path / "e", student)
    weights = tmp_path / "e" / "model.safetensors"
    state = load_file(weights)
    state["model.decoder.layers.1.fc1.bias"][3] += 1e-6
    save_file(state, weights, {"format": "pt"})
    with pytest.raises(UserError, match=r"model.decoder.layers.1.fc1.bias differs"):
        verify(tmp_path / "e", student)
    other = config.model_copy(update={"encoder_heads": 4})
    with pytest.raises(UserError, match="config or vocabulary differs"):
        verify(tmp_path / "e", (other, params, vocabulary))


def test_logits_that_are_not_numbers_are_found(tmp_path, student):
    write(tmp_path / "e", student)
    with pytest.raises(UserError, match="logits differ"):
        verify(tmp_path / "e", student, lambda params: logits(params) * np.nan)


def test_every_parameter_is_in_the_file(tmp_path, student):
    write(tmp_path / "e", student)
    state = load_file(tmp_path / "e" / "model.safetensors")
    rows = name_table(CONFIG)
    expected = sum(len(lookup(student[1], row.path)) if row.stacked else 1 for row in rows)
    assert len(state) == expected
