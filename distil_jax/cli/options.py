"""What most verbs take."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A YAML file, or the folder of a run.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Laid over the config, as in train.steps=200."),
]
OwnLaws = Annotated[
    list[Path] | None,
    typer.Option(
        "--laws", metavar="FILE.py", help="Python that registers laws of your own; it is run."
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="The result as one line of JSON, the last of stdout.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Tracebacks, and what the libraries log.")]
