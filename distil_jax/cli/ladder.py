"""The verb `ladder`: the runs that a scaling law is fitted to."""

from typing import Annotated, Any

import typer

from distil_jax.cli.options import AsJson, Config, Debug, Overrides
from distil_jax.cli.work import finish

verbs = typer.Typer()


@verbs.command(
    # The backslash is for rich, which reads brackets as markup.
    epilog=r"Example: distil-jax ladder configs/scaling_ladder.yaml 'text=\[books, wiki.txt]'; "
    "then distil-jax fit runs/scaling_ladder --law distillation"
)
def ladder(
    config: Config,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which runs there would be, and their operations.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train a ladder of language models, alone and with teachers, and write a table of them."""

    def work() -> dict[str, Any]:
        from distil_jax.config_file import read_config_file
        from distil_jax.ladder_config import LadderConfig

        loaded = read_config_file(LadderConfig, config, overrides or [])
        # After the config: a mistake in it answers at once.
        from distil_jax.pipeline.ladder import climb, planned

        return planned(loaded) if dry_run else climb(loaded)

    finish(work, as_json, debug)
