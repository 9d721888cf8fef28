"""The command `distil-jax`: its verbs, a few lines each. Heavy imports wait until a verb runs."""

from typing import Annotated

import typer

from distil_jax import __version__
from distil_jax.cli import fit, ladder, plan, report, stages, transcribe
from distil_jax.cli.stages import STAGES

__all__ = ["STAGES", "app", "main"]

app = typer.Typer(
    name="distil-jax",
    help="Make a small speech model from a big one. One YAML, one run folder; every verb is safe to"
    " kill, and the same command goes on where it stopped.",
    epilog="Begin with: distil-jax run configs/quickstart.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# Help lists the verbs in the order of a run.
for _module in (stages, transcribe, ladder, plan, fit, report):
    app.add_typer(_module.verbs)


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
