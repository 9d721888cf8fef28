"""The verb `report`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from distil_jax.cli.options import AsJson, Debug, Overrides, OwnLaws
from distil_jax.cli.work import finish

verbs = typer.Typer()


@verbs.command(epilog="Example: distil-jax report runs/quickstart; or distil-jax report law.json")
def report(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="The folder of a run, or its config; or a fitted law (.json)."
        ),
    ],
    overrides: Overrides = None,
    own_laws: OwnLaws = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write one self-contained HTML page about a run, or about a fitted law."""

    def work() -> dict[str, Any]:
        if run.suffix == ".json":
            from distil_jax.report import write_law_report
            from distil_jax.scaling.laws import register_from

            register_from(own_laws or [])
            return {"report": str(write_law_report(run))}
        from distil_jax import pipeline
        from distil_jax.config import load_config

        return pipeline.report(load_config(run, overrides or []).folder.root)

    finish(work, as_json, debug)
