"""The order of the house: sizes, imports, what lies at the top, what README and CI say alike."""

import ast
import re
import statistics
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
SOURCES = sorted(REPOSITORY.glob("distil_jax/**/*.py"))
CONFIGS = sorted(REPOSITORY.glob("configs/*.yaml"))
TOP = {
    "distil_jax",
    "configs",
    "tests",
    "tpu_scripts",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
}
LEFT_BY_TOOLS = {"build", "dist", "runs", "distil_jax.egg-info"}  # ignored by git
TORCH = {"torch", "torchaudio", "torchcodec", "tensorflow"}
HEADER = ("paper", "command", "hardware", "time", "expect")


def imports(path: Path) -> set[str]:
    """The top-level names of all that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").partition(".")[0])
    return names


def dependencies() -> set[str]:
    """The distributions that pyproject.toml asks for without extras."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {plain(re.split(r"[\[<>=;! ]", each)[0]) for each in project["dependencies"]}


def plain(distribution: str) -> str:
    return distribution.lower().replace("-", "_")


def test_files_are_of_a_size_to_feel_at_home_in():
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in SOURCES}
    long = {str(path.relative_to(REPOSITORY)): n for path, n in lines.items() if n > 400}
    assert statistics.median(lines.values()) <= 150
    assert len(long) <= len(lines) / 10, long


def test_the_top_holds_what_it_should():
    there = {path.name for path in REPOSITORY.iterdir() if not path.name.startswith(".")}
    assert there - LEFT_BY_TOOLS - {"__pycache__"} == TOP


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_file_imports_torch(path: Path):
    assert not imports(path) & TORCH


def test_what_is_imported_is_declared_and_the_other_way_round():
    third_party = {name for path in SOURCES for name in imports(path)}
    third_party -= {*sys.stdlib_module_names, "distil_jax", ""}
    homes = packages_distributions()
    unknown = {name for name in third_party if name not in homes}
    used = {plain(home) for name in third_party - unknown for home in homes[name]}
    declared = dependencies()
    assert not unknown, "imported, not installed here"
    assert not {name for name in third_party if not {*map(plain, homes[name])} & declared}
    assert not declared - used, "declared, imported nowhere"


def test_no_file_names_a_machine_s_folders():
    places = re.compile("(?<![A-Za-z0-9_.])/(?:" + "|".join(["tmp", "work", "root", "home"]) + ")/")
    texts = [
        *SOURCES,
        *CONFIGS,
        *(path for path in REPOSITORY.glob("tpu_scripts/**/*") if path.is_file()),
        *(REPOSITORY / name for name in ("README.md", "pyproject.toml", "CHANGELOG.md", ".ci/run")),
    ]
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}"
        for path in texts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if places.search(line)
    ]
    assert not found


def command_after(marker: str) -> str:
    """The first code block after `<!-- marker -->` in the README."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- {marker} -->\s*```[a-z]*\n(.*?)```", text, re.DOTALL)
    assert found, f"README.md has no code block after <!-- {marker} -->"
    return found[1].strip()


def test_ci_runs_the_readme_s_test_command():
    """`.ci/run` reads the command from the README, so the two cannot differ."""
    command = command_after("test command")
    assert len(command.splitlines()) == 1
    assert "-m venv" in command
    assert "pytest" in command
    assert "<!-- test command -->" in (REPOSITORY / ".ci/run").read_text(encoding="utf-8")
    assert ".ci/run" in (REPOSITORY / ".github/workflows/ci.yml").read_text(encoding="utf-8")


def test_the_readme_s_first_command_runs_the_quickstart():
    command = command_after("quickstart command")
    assert len(command.splitlines()) == 1
    assert "distil-jax run configs/quickstart.yaml" in command


def test_no_figure_is_missing():
    """What is measured late stands in capitals until then."""
    late = re.compile(r"\b(?:TIME|EXPECT|TEST_TIME|LABEL_[A-Z]+|[A-Z]+_FIGURES)\b")
    for path in (REPOSITORY / "README.md", *CONFIGS):
        assert not late.findall(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_begins_with_what_a_reader_asks(path: Path):
    header = "".join(
        line for line in path.read_text(encoding="utf-8").splitlines(True) if line.startswith("#")
    )
    for word in HEADER:
        assert re.search(rf"^# {word}: +\S", header, re.MULTILINE), f"`# {word}: ...` is missing"
    assert f"configs/{path.name}" in header


def test_the_changelog_names_the_version():
    from distil_jax import __version__

    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[({re.escape(__version__)}|Unreleased)\]", text, re.MULTILINE)
