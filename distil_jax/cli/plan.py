"""The verb `plan`: what a run needs, or which run to make."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from distil_jax.cli.given import given
from distil_jax.cli.options import AsJson, Debug, Overrides, OwnLaws
from distil_jax.cli.work import finish, run_stage
from distil_jax.errors import ConfigError

verbs = typer.Typer()

_BY_LAW = "With --law, in place of CONFIG"
_OF_CONFIG = {"topology", "table"}
_OF_BOTH = {"config", "overrides", "law", "as_json", "debug"}


@verbs.command(
    epilog="Examples: distil-jax plan configs/distil_whisper.yaml --topology v5e:16x16; "
    "distil-jax plan --law law.json --size 1e9 --compute 1e21 --chips v5e:256"
)
def plan(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="A YAML file, or the folder of a run."),
    ] = None,
    overrides: Overrides = None,
    topology: Annotated[
        str | None,
        typer.Option("--topology", help="A TPU slice, as v5e:16x16; without it, this machine."),
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Every parameter: shape, layout, bytes on a device.")
    ] = False,
    law: Annotated[
        str | None,
        typer.Option(
            "--law",
            help="A fitted distillation law, or apple for published coefficients: which teacher, "
            "how many tokens, or no teacher at all?",
            rich_help_panel=_BY_LAW,
        ),
    ] = None,
    size: Annotated[
        float | None, typer.Option("--size", help="The student's.", rich_help_panel=_BY_LAW)
    ] = None,
    compute: Annotated[
        float | None,
        typer.Option("--compute", help="Operations to spend.", rich_help_panel=_BY_LAW),
    ] = None,
    loss: Annotated[
        float | None,
        typer.Option("--loss", help="To be reached with the fewest.", rich_help_panel=_BY_LAW),
    ] = None,
    students: Annotated[
        int,
        typer.Option(
            "--students", min=1, help="Of one teacher; they share it.", rich_help_panel=_BY_LAW
        ),
    ] = 1,
    teachers: Annotated[
        Path | None,
        typer.Option(
            "--teachers", help="Those you have: a table of name, N, loss.", rich_help_panel=_BY_LAW
        ),
    ] = None,
    room: Annotated[
        float | None,
        typer.Option("--storage", help="Bytes for cached signals.", rich_help_panel=_BY_LAW),
    ] = None,
    token_bytes: Annotated[
        float | None,
        typer.Option("--token-bytes", help="Of cached signals.", rich_help_panel=_BY_LAW),
    ] = None,
    chips: Annotated[
        str | None, typer.Option("--chips", help="As v5e:256.", rich_help_panel=_BY_LAW)
    ] = None,
    utilization: Annotated[
        float,
        typer.Option(
            "--utilization", help="Share of the peak that is used.", rich_help_panel=_BY_LAW
        ),
    ] = 0.4,
    price: Annotated[
        float | None, typer.Option("--price", help="Of a chip's hour.", rich_help_panel=_BY_LAW)
    ] = None,
    extrapolate: Annotated[
        bool,
        typer.Option(
            "--extrapolate", help="Answer outside of the law's runs, too.", rich_help_panel=_BY_LAW
        ),
    ] = False,
    flops: Annotated[
        Literal["paper", "2n"],
        typer.Option(
            "--flops",
            help="Of a token: by size, context and vocabulary (arXiv:2502.08606), or 2 N.",
            rich_help_panel=_BY_LAW,
        ),
    ] = "paper",
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            min=1,
            help="Tokens a model reads; as the law's runs did, or 4096.",
            rich_help_panel=_BY_LAW,
        ),
    ] = None,
    vocabulary: Annotated[
        int | None,
        typer.Option(
            "--vocabulary",
            min=1,
            help="Its tokens; as of the law's runs, or 32768.",
            rich_help_panel=_BY_LAW,
        ),
    ] = None,
    own_laws: OwnLaws = None,
    plots: Annotated[
        Path | None,
        typer.Option("--plots", help="A folder for charts, as PNG.", rich_help_panel=_BY_LAW),
    ] = None,
    next_runs: Annotated[
        float | None,
        typer.Option(
            "--next-runs",
            help="Operations for runs that would make the best plan surer: which?",
            rich_help_panel=_BY_LAW,
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what a run needs before anything is rented; or, by a law, which run to make at all."""

    def work() -> dict[str, Any]:
        if (law is None) == (config is None) or (law is not None and size is None):
            raise ConfigError("plan: expected CONFIG, or else --law with --size")
        _check_asked(ctx, by_law=law is not None)
        if config is not None:
            return run_stage("plan", config, overrides or [], topology, table)
        from distil_jax.pipeline.law_plan import plan_by_law
        from distil_jax.pipeline.law_question import Question
        from distil_jax.scaling.laws import register_from

        assert law is not None
        assert size is not None
        register_from(own_laws or [])
        question = Question(
            size=size,
            compute=compute,
            loss=loss,
            students=students,
            teachers=teachers,
            room=room,
            token_bytes=token_bytes,
            chips=chips,
            utilization=utilization,
            price=price,
            extrapolate=extrapolate,
            next_runs=next_runs,
            flops=flops,
            context=context,
            vocabulary=vocabulary,
            plots=plots,
        )
        return plan_by_law(law, question)

    finish(work, as_json, debug)


def _check_asked(ctx: typer.Context, by_law: bool) -> None:
    """Raises ConfigError where an option is given that belongs to the other way of planning."""
    wrong = [
        option
        for name, option in given(ctx).items()
        if name not in _OF_BOTH and (name in _OF_CONFIG) == by_law
    ]
    if wrong:
        there, here = ("CONFIG", "--law") if by_law else ("--law", "CONFIG")
        raise ConfigError(f"plan: {', '.join(wrong)}: asked of a {there}, got {here}")
