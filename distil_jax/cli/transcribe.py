"""The verb `transcribe`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from distil_jax.cli.options import AsJson, Config, Debug, Overrides
from distil_jax.cli.work import finish_together, run_stage

verbs = typer.Typer()


@verbs.command(
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
    finish_together(
        lambda: run_stage("transcribe", config, overrides or [], *rest, **options),
        as_json,
        debug,
        "Files of recordings that were through are there; the same command begins anew.",
    )
