"""Locations: plain paths, files inside installed packages, and the messages when there are none."""

import sys
from pathlib import Path

import pytest

from distil_jax.errors import UserError
from distil_jax.locations import resolve


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """A package whose code must not run; its distribution is called `made-up-weights`."""
    package = tmp_path / "made_up_files"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "model" / "config.json").write_text("{}")
    info = tmp_path / "made_up_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up-weights\nVersion: 1.0\n")
    files = ["made_up_files/__init__.py", "made_up_files/model/config.json"]
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


def test_a_plain_path_is_relative_to_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "here.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert resolve("here.txt").read_text() == "x"


@pytest.mark.parametrize("name", ["made_up_files", "made-up-weights"])
def test_import_and_distribution_names_find_the_file_without_importing(installed, name):
    assert resolve(f"package:{name}/model/config.json") == installed / "model" / "config.json"
    assert resolve(f"package:{name}/model") == installed / "model"
    assert "made_up_files" not in sys.modules


@pytest.mark.parametrize(
    "location, words",
    [
        ("nowhere/at/all", ["nowhere/at/all", "package:NAME/path"]),
        ("package:no_such_thing/model", ["no_such_thing", "pip install no-such-thing"]),
        ("package:made_up_files/other", ["other", "holds: __init__.py, model"]),
        ("package:made_up_files/../x", ["'..'"]),
        ("package:made_up_files//etc/passwd", ["begin with '/'"]),
        ("package:", ["package:NAME/path"]),
        ("package:os.path/x", ["os.path", "pip install"]),
    ],
)
def test_a_wrong_location_says_what_to_do(installed, location, words):
    with pytest.raises(UserError) as error:
        resolve(location)
    for word in words:
        assert word in str(error.value)
