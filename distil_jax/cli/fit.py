"""The verb `fit`: which law runs follow."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from distil_jax.cli.options import AsJson, Debug, OwnLaws
from distil_jax.cli.work import finish
from distil_jax.errors import ConfigError

verbs = typer.Typer()


@verbs.command(
    epilog="Example: distil-jax fit runs.csv --law gamma --column N=params --column D=tokens "
    "--output law.json"
)
def fit(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...", help="Tables of runs, .csv, .tsv or .parquet; or ladders' folders."
        ),
    ],
    laws: Annotated[
        list[str] | None,
        typer.Option(
            "--law",
            help="chinchilla, gamma, distillation, or one of your own. Of several, the one that "
            "predicts runs best that it did not see is kept, and all are compared.",
            show_default="chinchilla",
        ),
    ] = None,
    own_laws: OwnLaws = None,
    supervised: Annotated[
        str,
        typer.Option(
            "--supervised",
            help="With --law distillation, the law of the runs without a teacher: gamma, or "
            "chinchilla where they are few.",
        ),
    ] = "gamma",
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="OURS=THEIRS",
            help="What the tables call N (parameters), D (tokens), loss, run (its name), teacher "
            "(the name of the run that taught), teacher_loss, weight, tokenizer, status, or "
            "what operations are counted from (context, vocabulary, layers, width), where it is "
            "not that.",
        ),
    ] = None,
    loss: Annotated[
        Literal["huber", "absolute", "squares"],
        typer.Option("--loss", help="Of the differences of logarithms."),
    ] = "huber",
    delta: Annotated[
        float,
        typer.Option("--delta", min=1e-9, help="Where huber turns from squares to lines."),
    ] = 1e-3,
    too_high: Annotated[
        float,
        typer.Option("--too-high", min=1, help="How much heavier a prediction above a run weighs."),
    ] = 1.0,
    starts: Annotated[
        int, typer.Option("--starts", min=1, help="Of the law's grid, drawn at random.")
    ] = 1000,
    draws: Annotated[int, typer.Option("--draws", min=0, help="Of the bootstrap.")] = 1000,
    held_out: Annotated[
        bool, typer.Option(help="Also predict runs from weaker ones, and count how well.")
    ] = True,
    plots: Annotated[
        Path | None, typer.Option("--plots", help="A folder for charts, as PNG.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", help="The file for the fitted law.")] = Path(
        "law.json"
    ),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Fit a scaling law to runs: its coefficients, how sure they are, how well it predicts."""

    def work() -> dict[str, Any]:
        from distil_jax.pipeline.fit import fit_laws
        from distil_jax.pipeline.fit_options import FitOptions
        from distil_jax.scaling.fitting.loss import FitLoss
        from distil_jax.scaling.laws import CHINCHILLA, register_from

        register_from(own_laws or [])
        chosen = FitLoss(kind=loss, delta=delta, too_high=too_high)
        options = FitOptions(chosen, starts, draws, held_out, supervised, plots)
        return fit_laws(data, laws or [CHINCHILLA.name], _renamed(columns or []), options, output)

    finish(work, as_json, debug)


def _renamed(pairs: list[str]) -> dict[str, str]:
    """Of N=params and the like."""
    wrong = [pair for pair in pairs if not all(pair.partition("="))]
    if wrong:
        raise ConfigError(f"--column {wrong[0]}: expected OURS=THEIRS, as in --column N=params")
    named = [pair.partition("=")[0] for pair in pairs]
    twice = [ours for ours in named if named.count(ours) > 1]
    if twice:
        raise ConfigError(f"--column {twice[0]}: got {named.count(twice[0])} of it, expected one")
    return {ours: theirs for ours, _, theirs in (pair.partition("=") for pair in pairs)}
