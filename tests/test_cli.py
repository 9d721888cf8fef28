"""The command line: help, exit codes, what goes to stdout and what to stderr."""

import errno
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import distil_jax
from distil_jax.cli import STAGES, app
from distil_jax.errors import ConfigError, Preempted, UserError
from distil_jax.run import RunFolder

VERBS = [*(stage[0] for stage in STAGES), "filter", "transcribe", "report"]
HEAVY = ("jax", "flax", "numpy", "transformers", "datasets", "matplotlib", "pyarrow", "grain")


class Calls(list):
    """A pipeline that writes down how it is called; `answer` is what each stage does."""

    answer: Any = staticmethod(lambda: {"done": True})

    def __getattr__(self, stage: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.append((stage, *arguments, *([options] if options else [])))
            return self.answer()

        return call


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    config = SimpleNamespace(
        load_config=lambda path, overrides: SimpleNamespace(
            path=path, overrides=overrides, folder=RunFolder(Path("runs/x"))
        )
    )
    for name, stub in (("pipeline", calls), ("config", config)):
        monkeypatch.setitem(sys.modules, f"distil_jax.{name}", stub)  # pyright: ignore[reportArgumentType]
        monkeypatch.setattr(distil_jax, name, stub, raising=False)
    return calls


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def command(*arguments: str) -> subprocess.CompletedProcess:
    """The command in a process of its own."""
    whole = [sys.executable, "-m", "distil_jax", *arguments]
    return subprocess.run(whole, capture_output=True, text=True, check=False, timeout=60)


def test_help_is_quick():
    times = []
    for _ in range(3):
        start = time.monotonic()
        assert command("--help").returncode == 0
        times.append(time.monotonic() - start)
    assert min(times) < 1


def test_help_imports_nothing_heavy():
    code = "import sys, distil_jax.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(done.stdout.split())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_an_example(verb: str):
    result = invoke(verb, "--help")
    assert result.exit_code == 0
    assert f"Example: distil-jax {verb} " in result.stdout
    assert "--json" in result.stdout


@pytest.mark.parametrize("verb, function", [stage[:2] for stage in STAGES])
def test_a_verb_calls_its_stage(pipeline: Calls, verb: str, function: str):
    result = invoke(verb, "x.yaml", "train.steps=200", "seed=1", "--json")
    assert result.exit_code == 0
    [(called, config)] = pipeline
    assert called == function
    assert config.path == Path("x.yaml")
    assert config.overrides == ["train.steps=200", "seed=1"]
    assert json.loads(result.stdout) == {"done": True}


@pytest.mark.parametrize(
    "options, called",
    [
        ([], ("filter_labels",)),
        (["--audit"], ("audit", 20.0)),
        (["--audit", "--above", "80"], ("audit", 80.0)),
    ],
)
def test_filter_decides_or_audits(pipeline: Calls, options: list[str], called: tuple):
    assert invoke("filter", "x.yaml", *options, "filter.max_error_rate=5").exit_code == 0
    [(stage, config, *rest)] = pipeline
    assert (stage, *rest) == called
    assert config.overrides == ["filter.max_error_rate=5"]


def test_transcribe_takes_recordings_and_a_model(pipeline: Calls):
    invoke("transcribe", "x.yaml", "--audio", "a.mp3", "--model", "teacher", "--audio", "b", "a=1")
    [(called, config, *rest, options)] = pipeline
    assert (called, rest) == ("transcribe", [[Path("a.mp3"), Path("b")], "teacher", None])
    chunked = {"algorithm": "chunked", "chunk_seconds": None, "condition_on_previous": None}
    unsaid = dict.fromkeys(("output", "timestamps", "draft"))
    others = {"formats": [], "long_form": chunked, "draft_tokens": 5, "words": False}
    assert options == {**others, **unsaid}
    assert config.overrides == ["a=1"]


def test_transcribe_takes_the_name_of_a_student(pipeline: Calls):
    invoke("transcribe", "x.yaml", "--audio", "a.mp3", "--student", "small")
    assert pipeline[0][2:5] == ([Path("a.mp3")], "student", "small")


def test_transcribe_takes_formats_and_where_to(pipeline: Calls):
    files = ("--format", "srt, vtt", "--format", "json", "--output", "texts")
    how = ("--no-timestamps", "--chunk-seconds", "15", "--words")
    how += ("--draft", "small", "--draft-tokens", "3")
    invoke("transcribe", "x.yaml", "--audio", "a.mp3", *files, *how)
    assert pipeline[0][-1] == {
        "formats": ["srt", "vtt", "json"],
        "output": Path("texts"),
        "timestamps": False,
        "long_form": {
            "algorithm": "chunked",
            "chunk_seconds": 15.0,
            "condition_on_previous": None,
        },
        "draft": "small",
        "draft_tokens": 3,
        "words": True,
    }


@pytest.mark.parametrize("said", [True, False])
def test_transcribe_takes_an_algorithm(pipeline: Calls, said: bool):
    how = ("--long-form", "sequential", f"--{'' if said else 'no-'}condition-on-previous")
    invoke("transcribe", "x.yaml", "--audio", "a.mp3", *how)
    wanted = {"algorithm": "sequential", "chunk_seconds": None, "condition_on_previous": said}
    assert pipeline[0][-1]["long_form"] == wanted
    assert invoke("transcribe", "x.yaml", "--audio", "a", "--long-form", "other").exit_code == 2


def test_report_takes_the_folder_of_the_run(pipeline: Calls):
    assert invoke("report", "x.yaml").exit_code == 0
    assert pipeline == [("report", Path("runs/x"))]


def test_all_that_is_printed_goes_to_stderr(pipeline: Calls):
    pipeline.answer = lambda: print("noise") or {"text": "é"}
    result = invoke("label", "x.yaml", "--json")
    assert result.stdout == '{"text": "é"}\n'
    assert "noise" in result.stderr


@pytest.mark.parametrize(
    "error, code, words",
    [
        (ConfigError("train.stepz: unknown key"), 2, "Error: train.stepz: unknown key"),
        (UserError("no such folder"), 1, "Error: no such folder"),
        (Preempted("stopped after step 3"), 143, "stopped after step 3"),
        (
            OSError(errno.ENOSPC, "No space left on device", "metrics.jsonl"),
            1,
            "Error: disk full: [Errno 28] No space left on device: 'metrics.jsonl'. Make room",
        ),
        (ZeroDivisionError("by zero"), 1, "Unexpected ZeroDivisionError: by zero"),
        (KeyboardInterrupt(), 130, "The same command goes on where it stopped."),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_an_error_is_a_message_and_a_code(
    pipeline: Calls, error: BaseException, code: int, words: str, debug: bool
):
    def fail() -> None:
        raise error

    pipeline.answer = fail
    result = invoke("train", "x.yaml", *(["--debug"] if debug else []))
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stdout == ""
    assert ("Traceback" in result.stderr) == (debug and isinstance(error, Exception))


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["train"], ["train", "x.yaml", "--fast"], ["transcribe", "x.yaml"], []],
    ids=" ".join,
)
def test_wrong_usage_exits_with_two(arguments: list[str]):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_the_version_is_the_package_s():
    assert invoke("--version").stdout == f"{distil_jax.__version__}\n"
