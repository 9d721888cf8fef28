"""The command `distil-jax`: its verbs, a few lines each. Heavy imports wait until a verb runs."""

import contextlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from distil_jax import __version__
from distil_jax.errors import ConfigError, UserError

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="distil-jax",
    help="Make a small speech model from a big one. One YAML, one run folder; every verb is safe to"
    " kill, and the same command goes on where it stopped.",
    epilog="Begin with: distil-jax run configs/quickstart.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# verb, the pipeline's function, what it does, a worked example
STAGES = (
    (
        "run",
        "run_all",
        "All of it: label, filter, train, evaluate, export, report.",
        "configs/quickstart.yaml train.steps=200 run_dir=runs/longer",
    ),
    (
        "label",
        "label",
        "The teacher writes a label for every clip.",
        "configs/quickstart.yaml label.batch_size=8",
    ),
    (
        "filter",
        "filter_labels",
        "Keep the clips whose label is near the reference; print the hours kept and dropped.",
        "configs/quickstart.yaml filter.max_error_rate=10",
    ),
    (
        "train",
        "train",
        "Cut the student from the teacher and train it on the kept clips.",
        "configs/quickstart.yaml train.steps=200 student.decoder_layers=2",
    ),
    (
        "evaluate",
        "evaluate",
        "Teacher and student side by side on each evaluation set.",
        "configs/quickstart.yaml --json",
    ),
    (
        "export",
        "export",
        "Write the student as a Hugging Face folder that PyTorch loads.",
        "configs/quickstart.yaml",
    ),
)

Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A YAML file, or the folder of a run.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Laid over the config, as in train.steps=200."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="The result as one line of JSON, the last of stdout.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Tracebacks, and what the libraries log.")]


def _add_stage(verb: str, function: str, summary: str, example: str) -> None:
    """Make a stage of the pipeline a verb of the command."""

    @app.command(verb, help=summary, epilog=f"Example: distil-jax {verb} {example}")
    def stage(
        config: Config, overrides: Overrides = None, as_json: AsJson = False, debug: Debug = False
    ) -> None:
        _finish(lambda: _run_stage(function, config, overrides or []), as_json, debug)


for _stage in STAGES:
    _add_stage(*_stage)


@app.command(
    epilog="Example: distil-jax transcribe configs/quickstart.yaml --audio talk.mp3 --audio tapes/"
)
def transcribe(
    config: Config,
    audio: Annotated[
        list[Path],
        typer.Option("--audio", help="A recording or a folder of them; may be given many times."),
    ],
    overrides: Overrides = None,
    model: Annotated[
        str, typer.Option("--model", help="student, teacher, or a folder of weights.")
    ] = "student",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write down what is said in recordings of your own."""
    _finish(lambda: _run_stage("transcribe", config, overrides or [], audio, model), as_json, debug)


@app.command(epilog="Example: distil-jax report runs/quickstart")
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, or its config.")],
    overrides: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write one self-contained HTML page about a run."""

    def work() -> dict[str, Any]:
        from distil_jax import pipeline
        from distil_jax.config import load_config

        return pipeline.report(load_config(run, overrides or []).folder.root)

    _finish(work, as_json, debug)


def _run_stage(function: str, config: Path, overrides: list[str], *rest: Any) -> dict[str, Any]:
    """The pipeline's `function` on the config, with what else it takes."""
    from distil_jax.config import load_config

    loaded = load_config(config, overrides)
    from distil_jax import pipeline  # after the config: a mistake in it answers at once

    return getattr(pipeline, function)(loaded, *rest)


def _finish(work: Callable[[], dict[str, Any]], as_json: bool, debug: bool) -> None:
    """Do the work and print its result; an error becomes a message and an exit code.

    Exits with 1 (failed), 2 (wrong config or usage) or 130 (interrupted).
    """
    from distil_jax.console import print_error, print_result, set_up_logging

    set_up_logging(debug)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result alone
            result = work()
        print_result(result, as_json)
    except KeyboardInterrupt:
        print_error("Interrupted. The same command goes on where it stopped.")
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        if debug:
            print_error(traceback.format_exc())
        print_error(_message(error))
        raise typer.Exit(WRONG_USAGE if isinstance(error, ConfigError) else FAILED) from None


def _message(error: Exception) -> str:
    if isinstance(error, UserError):
        return f"Error: {error}"
    return (
        f"Unexpected {type(error).__name__}: {error}\n"
        "This is a fault of distil_jax or of the machine; --debug shows where it happened."
    )


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Its version.")
    ] = False,
) -> None: ...


def main() -> None:
    """The console command."""
    app()
