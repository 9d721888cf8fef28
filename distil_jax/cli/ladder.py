"""The verb `ladder`: the runs that a scaling law is fitted to."""

from typing import Any

import typer

from distil_jax.cli.options import AsJson, Config, Debug, Overrides
from distil_jax.cli.work import finish

verbs = typer.Typer()


@verbs.command(
    epilog="Example: distil-jax ladder ladder.yaml train.batch_size=32; "
    "then distil-jax fit RUN_DIR --law distillation"
)
def ladder(
    config: Config, overrides: Overrides = None, as_json: AsJson = False, debug: Debug = False
) -> None:
    """Train a ladder of language models, alone and with teachers, and write a table of them."""

    def work() -> dict[str, Any]:
        from distil_jax.config_file import read_config_file
        from distil_jax.ladder_config import LadderConfig

        loaded = read_config_file(LadderConfig, config, overrides or [])
        from distil_jax.pipeline.ladder import climb  # after the config: a mistake answers at once

        return climb(loaded)

    finish(work, as_json, debug)
