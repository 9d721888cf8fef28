"""The order of the stages. Each reads the folder of the stage before it and writes its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from distil_jax import processes
from distil_jax.config import RunConfig
from distil_jax.pipeline.cache import cache_stage
from distil_jax.pipeline.evaluate import evaluate_stage
from distil_jax.pipeline.export import export_stage
from distil_jax.pipeline.filter import audit_stage, filter_stage
from distil_jax.pipeline.label import label_stage
from distil_jax.pipeline.plan import plan as plan
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.train import train_stage
from distil_jax.pipeline.transcribe import transcribe_stage
from distil_jax.pipeline.transcribe_options import TranscribeOptions
from distil_jax.run import RunFolder

Result = dict[str, Any]


def run_all(config: RunConfig) -> Result:
    """Label, filter, cache (where the config asks for it), train, evaluate, export, report."""
    session = Session(config)
    session.check_inputs()
    results = {
        "label": label_stage(session),
        "filter": filter_stage(session),
        **({"cache": cache_stage(session)} if config.signals else {}),
        "train": train_stage(session),
        "evaluate": evaluate_stage(session),
        "export": export_stage(session),
    }
    return {**results, **report(session.folder.root)}


def _verb(stage: Callable[[Session], Result]) -> Callable[[RunConfig], Result]:
    return lambda config: stage(Session(config))


label = _verb(label_stage)
filter_labels = _verb(filter_stage)
cache = _verb(cache_stage)
train = _verb(train_stage)
evaluate = _verb(evaluate_stage)
export = _verb(export_stage)


def audit(config: RunConfig, above: float) -> Result:
    """How well each score finds wrong labels; the run's decisions stay as they are."""
    return audit_stage(Session(config), above)


def transcribe(
    config: RunConfig, audio: list[Path], model: str, student: str | None = None, **options: Any
) -> Result:
    """Recordings of the user's own; leaves the run folder as it is.

    options: of TranscribeOptions.of.
    """
    chosen = TranscribeOptions.of(**options)
    return transcribe_stage(Session(config), audio, model, student, chosen)


def report(root: Path) -> Result:
    """The page about a run, however far it got."""
    from distil_jax.report import write_report  # matplotlib: half a second that other verbs spare

    folder = RunFolder(root)
    if processes.is_writer():
        write_report(folder)
    return {"report": str(folder.report)}
