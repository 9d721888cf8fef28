"""What a ladder writes down of a run: a row that scaling laws are fitted to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from distil_jax import __version__
from distil_jax.ladder_config import LadderConfig, Rung
from distil_jax.models import language_model
from distil_jax.objectives import AnyObjective, KLDivergence
from distil_jax.objectives.calibration import expected_calibration_error
from distil_jax.pipeline.source import commit
from distil_jax.run import atomic_path
from distil_jax.scaling.charts.rungs import write_rungs
from distil_jax.topology import peak_of

if TYPE_CHECKING:
    from distil_jax.pipeline.ladder import Ladder

_SCHEMA = 2  # 1 had no ece, text, recipe, wall seconds, mfu and commit
Row = dict[str, Any]


def row_of(
    ladder: "Ladder",
    rung: Rung,
    group: tuple[Rung, ...],
    measured: Mapping[str, float],
    taught_by: Mapping[str, Any] | None,
    seconds: Mapping[str, float],
) -> Row:
    """N: parameters without embedding and head; D: tokens; loss: nats a token of held-out text.

    measured: means over that text. taught_by: the teacher's row. seconds: of the whole group's
    training, by kind, as in compute.jsonl.
    """
    config = ladder.config
    model, taught = config.models.of(rung.layers), taught_by or {}
    return {
        "run_id": rung.name,
        "group_id": f"{rung.layers}l-{config.steps(rung)} steps",
        "role": "student" if rung.teacher else "supervised",
        "status": "finished",
        "N": language_model.sizes(model)[0],
        "D": _tokens(config, rung),
        "loss": measured["cross_entropy"],
        "ece": expected_calibration_error(measured),
        "teacher": rung.teacher,
        "teacher_loss": taught.get("loss"),
        "teacher_N": taught.get("N"),
        "teacher_D": taught.get("D"),
        "kl_to_teacher": measured.get("kl") if rung.teacher else None,
        "seed": rung.seed,
        **_shape(model),
        **_reading(ladder, rung, int(measured["tokens"])),
        **_optimization(config, rung),
        **_recipe(config.taught_objectives if rung.teacher else config.objectives),
        **_cost(ladder, rung, group, taught, seconds),
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "config_hash": ladder.fingerprint,
        "version": __version__,
        "commit": commit(),
        "schema_version": _SCHEMA,
    }


def _tokens(config: LadderConfig, rung: Rung) -> int:
    return config.steps(rung) * config.train.batch_size * config.models.context


def _shape(model: language_model.LanguageModelConfig) -> Row:
    return {
        "N_total": language_model.sizes(model)[1],
        "layers": model.layers,
        "width": model.width,
        "heads": model.heads,
        "mlp_width": model.mlp_width,
        "vocabulary": model.vocab_size,
        "context": model.context,
    }


def _reading(ladder: "Ladder", rung: Rung, eval_tokens: int) -> Row:
    """What text it learned from, and how much; D_unique: tokens of it that were seen at all."""
    config, part = ladder.config, "student" if rung.teacher else "teacher"
    unique = ladder.windows(part).count * config.models.context
    tokens = _tokens(config, rung)
    return {
        "tokenizer": ladder.text.id,
        "text": ladder.text.text_id,
        "data_split": part,
        "D_unique": min(unique, tokens),
        "epochs": tokens / unique,
        "eval_tokens": eval_tokens,
    }


def _optimization(config: LadderConfig, rung: Rung) -> Row:
    train = config.train
    return {
        "batch_tokens": train.batch_size * config.models.context,
        "steps": config.steps(rung),
        "learning_rate": train.optimizer.learning_rate,
        "schedule": train.optimizer.schedule,
        "weight_decay": train.optimizer.weight_decay,
        "base_width": train.base_width,
    }


def _recipe(objectives: Sequence[AnyObjective]) -> Row:
    """What it minimised. lambda: the teacher's share of what teacher and text weigh together.

    top_k: how many of the teacher's logits were kept; None: all.
    """
    weights = {"cross_entropy": 0.0, "kl": 0.0, "z_loss": 0.0}
    weights |= {each.name: each.weight for each in objectives}
    main = weights["cross_entropy"] + weights["kl"]
    heard = next((each for each in objectives if isinstance(each, KLDivergence)), None)
    return {
        **{f"{name}_weight": weight for name, weight in weights.items()},
        "lambda": weights["kl"] / main if main else None,
        "temperature": heard.temperature if heard else None,
        "kl_direction": "forward" if heard else None,
        "top_k": None,
        "logit_source": "online" if heard else None,
    }


def _cost(
    ladder: "Ladder",
    rung: Rung,
    group: tuple[Rung, ...],
    taught_by: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> Row:
    """flops: of its own training; flops_teacher: of the teacher's forward passes.

    mfu: operations of the group a second of its steps, over the devices' bfloat16 peak.
    """
    config = ladder.config
    model = config.models.of(rung.layers)
    tokens = _tokens(config, rung)
    forward = language_model.flops(model, model.context).forward / model.context
    busy = seconds.get("step", 0.0)
    peak = peak_of(ladder.mesh.devices.ravel().tolist())
    return {
        "forward_flops": forward,
        "flops": 3 * forward * tokens,
        "flops_teacher": taught_by.get("forward_flops", 0.0) * tokens,
        "group_runs": len(group),
        "group_step_seconds": busy,
        "group_compile_seconds": seconds.get("compile", 0.0),
        "group_wall_seconds": sum(seconds.values()),
        "tokens_per_second": len(group) * tokens / busy if busy else None,
        "mfu": ladder.flops(group) / (busy * peak) if busy and peak else None,
    }


def write_rows(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """As tables that `fit` reads (runs.parquet, runs.csv), and as a chart (runs.png).

    What a row of an older schema does not say is null.
    """
    newest_first = sorted(rows, key=lambda row: -row["schema_version"])
    columns = dict.fromkeys(name for row in newest_first for name in row)
    table = pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows])
    with atomic_path(folder / "runs.parquet") as path:
        pyarrow.parquet.write_table(table, path)
    with atomic_path(folder / "runs.csv") as path:
        pyarrow.csv.write_csv(table, path)
    write_rungs(rows, folder / "runs.png")
