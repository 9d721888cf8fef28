"""What a ladder writes down of a run: a row that scaling laws are fitted to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from distil_jax import __version__
from distil_jax.ladder_config import Rung
from distil_jax.models import language_model
from distil_jax.run import atomic_path
from distil_jax.scaling.charts.rungs import write_rungs

if TYPE_CHECKING:
    from distil_jax.pipeline.ladder import Ladder

_SCHEMA = 1


def row_of(
    ladder: "Ladder",
    rung: Rung,
    group: tuple[Rung, ...],
    measured: Mapping[str, float],
    taught_by: Mapping[str, Any] | None,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """N: parameters without embedding and head; D: tokens; loss: nats a token of held-out text.

    measured: means over that text. taught_by: the teacher's row. seconds: of the whole group's
    training, by kind, as in compute.jsonl.
    """
    config = ladder.config
    model, train = config.models.of(rung.layers), config.train
    size, total = language_model.sizes(model)
    steps, batch = config.steps(rung), train.batch_size * config.models.context
    unique = ladder.windows("student" if rung.teacher else "teacher").count * config.models.context
    tokens = steps * batch
    forward = language_model.flops(model, model.context).forward / model.context
    taught = taught_by or {}
    heard = taught.get("forward_flops", 0.0) * tokens
    step_seconds = seconds.get("step", 0.0)
    return {
        "run_id": rung.name,
        "group_id": f"{rung.layers}l-{steps} steps",
        "role": "student" if rung.teacher else "supervised",
        "status": "finished",
        "N": size,
        "D": tokens,
        "loss": measured["cross_entropy"],
        "teacher": rung.teacher,
        "teacher_loss": taught.get("loss"),
        "teacher_N": taught.get("N"),
        "teacher_D": taught.get("D"),
        "kl_to_teacher": measured.get("kl") if rung.teacher else None,
        "seed": rung.seed,
        "N_total": total,
        "layers": model.layers,
        "width": model.width,
        "heads": model.heads,
        "mlp_width": model.mlp_width,
        "vocabulary": model.vocab_size,
        "context": model.context,
        "tokenizer": ladder.text.id,
        "data_split": "student" if rung.teacher else "teacher",
        "D_unique": min(unique, tokens),
        "epochs": tokens / unique,
        "eval_tokens": int(measured["tokens"]),
        "batch_tokens": batch,
        "steps": steps,
        "learning_rate": train.optimizer.learning_rate,
        "schedule": train.optimizer.schedule,
        "weight_decay": train.optimizer.weight_decay,
        "base_width": train.base_width,
        "forward_flops": forward,
        "flops": 3 * forward * tokens,
        "flops_teacher": heard,
        "group_runs": len(group),
        "group_step_seconds": step_seconds,
        "group_compile_seconds": seconds.get("compile", 0.0),
        "tokens_per_second": len(group) * tokens / step_seconds if step_seconds else None,
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "config_hash": ladder.fingerprint,
        "version": __version__,
        "schema_version": _SCHEMA,
    }


def write_rows(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """As tables that `fit` reads (runs.parquet, runs.csv), and as a chart (runs.png)."""
    table = pa.Table.from_pylist(list(rows))
    with atomic_path(folder / "runs.parquet") as path:
        pyarrow.parquet.write_table(table, path)
    with atomic_path(folder / "runs.csv") as path:
        pyarrow.csv.write_csv(table, path)
    write_rungs(rows, folder / "runs.png")
