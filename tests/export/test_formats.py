"""Several formats in one folder: all of them or none, and nothing that was not asked for."""

import shutil

import pytest

from distil_jax.errors import ConfigError, UserError
from distil_jax.export import ctranslate2
from distil_jax.export.formats import check_exportable, is_written, verify_formats, write_formats
from distil_jax.export.settings import ExportConfig
from distil_jax.models.pretrained import load_pretrained
from tests.made_up import MULTILINGUAL
from tests.made_up_student import made_up_student, some_logits

ALL = ExportConfig(
    formats=("hugging_face", "ctranslate2", "ggml"), ctranslate2_weights="int8", dtype="bfloat16"
)
ONE = ExportConfig(formats=("ctranslate2",))


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    return made_up_student(folder, MULTILINGUAL, encoder_ffn_dim=64, decoder_ffn_dim=64)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, student):
    path = tmp_path_factory.mktemp("run") / "export"
    write_formats(path, student, ALL)
    return path


def names(path):
    return {each.name for each in path.iterdir()}


def test_each_format_lies_where_its_tools_look(exported, student):
    assert is_written(exported, ALL)
    assert {"model.safetensors", "README.md", "ctranslate2", "ggml"} < names(exported)
    assert {"model.bin", "vocabulary.json", "tokenizer.json"} < names(exported / "ctranslate2")
    assert names(exported / "ggml") == {"ggml-model.bin"}
    assert load_pretrained(str(exported)).config == student.config
    assert load_pretrained(str(exported / "ctranslate2")).config == student.config


def test_every_format_is_verified(exported, student):
    result = verify_formats(exported, student, ALL, some_logits)
    formats = result["formats"]
    assert {name: each["weights"] for name, each in formats.items()} == {
        "hugging_face": "bfloat16",
        "ctranslate2": "int8",
        "ggml": "float16",
    }
    assert result["max_logit_difference"] == max(
        each["max_logit_difference"] for each in formats.values()
    )
    files = [each for each in exported.rglob("*") if each.is_file()]
    megabytes = sum(each["megabytes"] for each in formats.values())
    assert megabytes == pytest.approx(sum(each.stat().st_size for each in files) / 1e6, abs=0.002)
    with pytest.raises(UserError, match="differs from the student's; export again"):
        verify_formats(exported, student, ALL.model_copy(update={"dtype": "float16"}), some_logits)


def test_a_format_that_is_asked_for_no_more_goes(tmp_path, exported, student):
    path = shutil.copytree(exported, tmp_path / "export")
    write_formats(path, student, ONE)
    assert names(path) == {"ctranslate2"}
    assert is_written(path, ONE)
    assert not is_written(path, ALL)
    write_formats(path, student, ONE)  # over an export without model.safetensors
    assert names(tmp_path) == {"export"}


def test_a_failure_of_one_format_leaves_the_old_export(tmp_path, student, monkeypatch):
    path = tmp_path / "export"
    write_formats(path, student, ExportConfig())

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(ctranslate2, "write_variables", fail)
    with pytest.raises(OSError, match="disk full"):
        write_formats(path, student, ALL)
    assert names(tmp_path) == {"export"}
    assert is_written(path, ExportConfig())
    assert "ctranslate2" not in names(path)


def test_a_folder_that_is_no_model_is_never_replaced(tmp_path, student):
    (tmp_path / "ctranslate2").mkdir()
    (tmp_path / "ctranslate2" / "notes.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"not a model \(it holds ctranslate2\)"):
        write_formats(tmp_path, student, ONE)


def test_what_a_format_cannot_hold_is_told(student):
    narrow = student.config.model_copy(update={"encoder_ffn": 24})
    check_exportable(narrow, student.vocabulary, ONE)
    with pytest.raises(ConfigError, match=r"whisper.cpp expects MLPs four times as wide"):
        check_exportable(narrow, student.vocabulary, ALL)
