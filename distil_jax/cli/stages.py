"""The verbs that are stages of a run, in their order."""

from typing import Annotated

import typer

from distil_jax.cli.options import AsJson, Config, Debug, Overrides
from distil_jax.cli.work import finish_together, run_stage

verbs = typer.Typer()

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


def _add_stage(verb: str, function: str, summary: str, example: str) -> None:
    """Make a stage of the pipeline a verb of the command."""

    @verbs.command(verb, help=summary, epilog=f"Example: distil-jax {verb} {example}")
    def stage(
        config: Config, overrides: Overrides = None, as_json: AsJson = False, debug: Debug = False
    ) -> None:
        finish_together(lambda: run_stage(function, config, overrides or []), as_json, debug)


_ABOVE = 20.0  # percent, of a wrong label

for _stage in STAGES[:_BEFORE_FILTER]:  # help lists the verbs in the order of a run
    _add_stage(*_stage)


@verbs.command(
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
    finish_together(lambda: run_stage(stage, config, overrides or [], *rest), as_json, debug)


for _stage in STAGES[_BEFORE_FILTER:]:
    _add_stage(*_stage)
