"""The command `distil-jax`: its verbs, a few lines each. Heavy imports wait until a verb runs."""

import contextlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from distil_jax import __version__
from distil_jax.errors import ConfigError, Preempted, UserError, disk_is_full

FAILED, WRONG_USAGE, INTERRUPTED, PREEMPTED = 1, 2, 130, 143

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
        "cache",
        "cache",
        "Keep the teacher's distributions of the kept clips on disk, where the config asks for it.",
        "configs/quickstart.yaml signals.top_k=32 signals.encoder_states=true",
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

_BEFORE_FILTER = 2

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
        _finish_together(lambda: _run_stage(function, config, overrides or []), as_json, debug)


_ABOVE = 20.0  # percent, of a wrong label

for _stage in STAGES[:_BEFORE_FILTER]:  # help lists the verbs in the order of a run
    _add_stage(*_stage)


@app.command(
    "filter",
    epilog="Example: distil-jax filter configs/quickstart.yaml filter.max_error_rate=10",
)
def filter_labels(
    config: Config,
    overrides: Overrides = None,
    audit: Annotated[
        bool, typer.Option("--audit", help="Decide nothing; say how well each score finds faults.")
    ] = False,
    above: Annotated[
        float, typer.Option("--above", min=0, help="For --audit: a label is wrong from this on, %.")
    ] = _ABOVE,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Keep the clips whose label can be trusted; print the hours kept and dropped."""
    stage, *rest = ("audit", above) if audit else ("filter_labels",)
    _finish_together(lambda: _run_stage(stage, config, overrides or [], *rest), as_json, debug)


for _stage in STAGES[_BEFORE_FILTER:]:
    _add_stage(*_stage)


@app.command(
    epilog="Example: distil-jax transcribe runs/quickstart --audio talk.mp3 --audio tapes/ "
    "--format srt,json --output texts --long-form sequential"
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
    student: Annotated[
        str | None, typer.Option("--student", help="The name of the student, of several.")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="Of the files: some of txt, srt, vtt, json, as srt,json."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="The folder for the files; without it texts are printed."),
    ] = None,
    timestamps: Annotated[
        bool | None,
        typer.Option(help="Segments with their times; by default where a format has them."),
    ] = None,
    long_form: Annotated[
        Literal["chunked", "sequential"],
        typer.Option(
            help="How a long recording is heard. chunked: in windows that overlap, many at once, "
            "which is fast. sequential: from segment to segment, as OpenAI's Whisper does; of "
            "several recordings one window each at once."
        ),
    ] = "chunked",
    chunk_seconds: Annotated[
        float | None,
        typer.Option(help="Of the windows of --long-form chunked; 1 to 30.", show_default="30"),
    ] = None,
    condition_on_previous: Annotated[
        bool | None,
        typer.Option(
            help="With --long-form sequential: the model reads the text so far before each window. "
            "Names stay the same; so may a mistake. By default it does not."
        ),
    ] = None,
    draft: Annotated[
        str | None,
        typer.Option(
            "--draft", help="student, or a folder of weights: it drafts what --model verifies."
        ),
    ] = None,
    draft_tokens: Annotated[
        int, typer.Option("--draft-tokens", min=1, max=32, help="Drafted at once.")
    ] = 5,
    words: Annotated[
        bool, typer.Option("--words", help="Times of single words, too, in json or the result.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write down what is said in recordings of your own, of any length."""
    options = {
        "formats": [form.strip() for each in formats or [] for form in each.split(",")],
        "output": output,
        "timestamps": timestamps,
        "long_form": {
            "algorithm": long_form,
            "chunk_seconds": chunk_seconds,
            "condition_on_previous": condition_on_previous,
        },
        "draft": draft,
        "draft_tokens": draft_tokens,
        "words": words,
    }
    rest = audio, model, student
    _finish_together(
        lambda: _run_stage("transcribe", config, overrides or [], *rest, **options), as_json, debug
    )


@app.command(epilog="Example: distil-jax plan configs/distil_whisper.yaml --topology v5e:16x16")
def plan(
    config: Config,
    overrides: Overrides = None,
    topology: Annotated[
        str | None,
        typer.Option("--topology", help="A TPU slice, as v5e:16x16; without it, this machine."),
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Every parameter: shape, layout, bytes on a device.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what the run needs before anything is rented: memory, time, cost."""
    _finish(lambda: _run_stage("plan", config, overrides or [], topology, table), as_json, debug)


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


def _run_stage(
    function: str, config: Path, overrides: list[str], *rest: Any, **options: Any
) -> dict[str, Any]:
    """The pipeline's `function` on the config, with what else it takes."""
    from distil_jax.config import load_config

    loaded = load_config(config, overrides)
    from distil_jax import pipeline  # after the config: a mistake in it answers at once

    return getattr(pipeline, function)(loaded, *rest, **options)


def _finish_together(work: Callable[[], dict[str, Any]], as_json: bool, debug: bool) -> None:
    """`_finish` for a verb that several processes may share."""
    from distil_jax.processes.ending import finish
    from distil_jax.processes.start import start

    def shared() -> dict[str, Any]:
        result = work()
        finish()
        return result

    _finish(shared, as_json, debug, begin=lambda: start(debug))


def _finish(
    work: Callable[[], dict[str, Any]],
    as_json: bool,
    debug: bool,
    begin: Callable[[], None] = lambda: None,
) -> None:
    """Begin, do the work and print its result; an error becomes a message and an exit code.

    Exits with 1 (failed), 2 (wrong config or usage), 130 (interrupted) or 143 (asked to stop by a
    scheduler: run it again).
    """
    from distil_jax import processes
    from distil_jax.console import print_result, set_up_logging

    set_up_logging(debug)
    try:
        begin()
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result alone
            result = work()
        if processes.is_writer():
            print_result(result, as_json)
    except KeyboardInterrupt as error:
        _end("Interrupted. The same command goes on where it stopped.", INTERRUPTED, error)
    except Exception as error:
        details = f"{traceback.format_exc()}\n" if debug else ""
        _end(f"{details}{_message(error)}", _code(error), error)


def _code(error: Exception) -> int:
    if isinstance(error, Preempted):
        return PREEMPTED
    return WRONG_USAGE if isinstance(error, ConfigError) else FAILED


def _end(message: str, code: int, error: BaseException) -> NoReturn:
    """Say why, and exit; of several processes the others say it, too."""
    from distil_jax import processes
    from distil_jax.console import print_error, redact

    if processes.count() > 1:
        from distil_jax.processes.ending import fail

        fail(redact(message), code, error)
    print_error(message)
    raise typer.Exit(code) from None


def _message(error: Exception) -> str:
    if isinstance(error, Preempted):
        return str(error)
    if isinstance(error, UserError):
        return f"Error: {error}"
    if disk_is_full(error):
        return f"Error: disk full: {error}. Make room, and the same command goes on."
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
