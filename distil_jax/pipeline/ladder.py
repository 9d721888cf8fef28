"""The verb `ladder`: many small language models, alone and with teachers, and a table of them.

Runs of one shape and length are trained side by side as a group. A group that is done leaves the
weights and a row of each run; one that was killed goes on from its checkpoint.
"""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from typing import Any

import jax
from jax.sharding import Mesh
from safetensors.numpy import save_file

from distil_jax import processes
from distil_jax.algorithms.language_modelling import LanguageModelling, LearningModel, TeacherModel
from distil_jax.allocator import keep_freed_memory
from distil_jax.config_file import FILE_NAME, dump_config
from distil_jax.data.token_text import TokenText, Windows, prepare
from distil_jax.errors import UserError
from distil_jax.ladder_config import LadderConfig, Rung
from distil_jax.mesh import make_mesh, split_batch
from distil_jax.models import language_model
from distil_jax.models.layers import Compute
from distil_jax.models.safetensors_files import read_tensors
from distil_jax.models.state_dict import from_state_dict, to_state_dict
from distil_jax.pipeline.ladder_checks import check_ladder
from distil_jax.pipeline.ladder_rows import row_of, write_rows
from distil_jax.pipeline.session import compute_dtype, set_up_jax
from distil_jax.progress import clock
from distil_jax.run import atomic_path, fingerprint, read_json, read_jsonl, write_json, write_text
from distil_jax.training.checkpoint import Checkpoints
from distil_jax.training.loop import Training
from distil_jax.training.state import TrainState
from distil_jax.training.telemetry import MetricsLog

log = logging.getLogger(__name__)

Group = tuple[Rung, ...]
_TELLING = 0.05  # of the operations, after which they tell how long the others take


def climb(config: LadderConfig) -> dict[str, Any]:
    """Make every run that is not there yet, and write the table of all: runs.parquet, runs.csv."""
    if processes.count() > 1:
        raise UserError("a ladder is the work of one process; split a large one over several")
    set_up_jax()
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    ladder = Ladder(config)
    check_ladder(config, ladder.mesh, ladder.windows)
    missing = [left for group in config.groups if (left := ladder.left(group))]
    write_text(config.folder / FILE_NAME, dump_config(config))
    costs = [ladder.flops(group) for group in missing]
    began = time.monotonic()
    for number, group in enumerate(missing):
        before, after = sum(costs[:number]), sum(costs[number:])
        known = before > _TELLING * (before + after)
        left = (time.monotonic() - began) / before * after if known else None
        log.info(
            "group %d of %d: %s%s",
            number + 1,
            len(missing),
            ", ".join(rung.name for rung in group),
            f"; about {clock(left)} left" if left else "",
        )
        ladder.make(group)
        ladder.write_table()  # what is there can be fitted before the rest is
    return ladder.write_table()


def planned(config: LadderConfig) -> dict[str, Any]:
    """What `climb` would make: groups of runs, with the operations of their training."""
    ladder = Ladder(config)
    groups = [
        {
            "runs": ", ".join(rung.name for rung in group),
            "steps": config.steps(group[0]),
            "flops": ladder.flops(group),
            "made": all((ladder.folder(rung) / "run.json").exists() for rung in group),
        }
        for group in config.groups
    ]
    flops = sum(each["flops"] for each in groups)
    return {"groups": groups, "runs": len(config.rungs), "flops": flops}


@dataclass(eq=False)
class Ladder:
    """Where the runs of a ladder are kept, and how one is made."""

    config: LadderConfig

    @cached_property
    def text(self) -> TokenText:
        config = self.config
        return prepare(config.folder, config.text, config.models.vocabulary)

    @cached_property
    def fingerprint(self) -> str:
        """Of all that runs of one ladder have in common."""
        return fingerprint(self.config.settings, self.text.id)

    @cached_property
    def mesh(self) -> Mesh:
        return make_mesh(self.config.mesh)

    def folder(self, rung: Rung) -> Path:
        return self.config.folder / "runs" / rung.name

    def left(self, group: Group) -> Group:
        """Its runs that are still to be made; where it was begun, all of it goes on."""
        unmade = tuple(rung for rung in group if not self.row(rung))
        return group if unmade and self._under_way(group).exists() else unmade

    def _under_way(self, group: Group) -> Path:
        return self.config.folder / "groups" / fingerprint([rung.name for rung in group])

    def row(self, rung: Rung) -> dict[str, Any] | None:
        """What is written of a run that is done. Raises UserError where it is of another ladder."""
        row = read_json(self.folder(rung) / "run.json")
        if row and row["config_hash"] != self.fingerprint:
            raise UserError(
                f"{self.folder(rung)} was made with other settings or of another text. Choose "
                f"another run_dir, or remove that folder to make the run anew."
            )
        return row

    def flops(self, group: Group) -> float:
        """Of its training, teachers included."""
        context = self.config.models.context

        def forward(layers: int) -> float:
            return language_model.flops(self.config.models.of(layers), context).forward

        teachers = {rung.teacher for rung in group if rung.teacher}
        heard = sum(forward(self.rung(name).layers) for name in teachers)
        a_sequence = 3 * len(group) * forward(group[0].layers) + heard
        return a_sequence * self.config.steps(group[0]) * self.config.train.batch_size

    def rung(self, name: str) -> Rung:
        return next(each for each in self.config.rungs if each.name == name)

    def make(self, group: Group) -> None:
        """Train its runs, measure them, and write what they became."""
        algorithm = self.algorithm(group)
        folder = self._under_way(group)
        state = self._trained(group, algorithm, folder)
        measured = self._measured(algorithm, state)
        params = jax.device_get(state.params)
        seconds: Counter[str] = Counter()
        for row in read_jsonl(folder / "compute.jsonl"):
            seconds.update(row["seconds"])
        for rung in group:
            tensors = to_state_dict(params[rung.name], language_model.NAME_TABLE)
            with atomic_path(self.folder(rung) / "model.safetensors") as path:
                save_file(tensors, path)
            write_json(self.folder(rung) / "config.json", algorithm.model.to_hf())
            taught_by = self.row(self.rung(rung.teacher)) if rung.teacher else None
            row = row_of(self, rung, group, measured[rung.name], taught_by, dict(seconds))
            write_json(self.folder(rung) / "run.json", row)
        rmtree(folder)

    def algorithm(self, group: Group) -> LanguageModelling:
        """That trains a group from its start."""
        config = self.config
        model = config.models.of(group[0].layers)
        names = {rung.teacher for rung in group if rung.teacher}
        return LanguageModelling(
            model=model,
            students={
                rung.name: LearningModel(language_model.init(model, rung.seed), rung.teacher)
                for rung in group
            },
            teachers={name: self._teacher(self.rung(name)) for name in sorted(names)},
            alone=config.objectives,
            taught=config.taught_objectives,
            config=config.train.of(config.steps(group[0])),
            compute=Compute(dtype=compute_dtype(config.train.dtype)),
            mesh=self.mesh,
            rules=config.mesh.rules,
            base_width=config.train.base_width,
        )

    def windows(self, part: str) -> Windows:
        config = self.config
        batch_size = config.train.batch_size
        return Windows(self.text.tokens[part], config.models.context, batch_size, config.seed)

    def _teacher(self, rung: Rung) -> TeacherModel:
        model = self.config.models.of(rung.layers)
        path = self.folder(rung) / "model.safetensors"
        shapes = language_model.shapes(model)
        tensors = read_tensors([path])
        return TeacherModel(
            model, from_state_dict(tensors, language_model.NAME_TABLE, shapes, str(path))
        )

    def _trained(self, group: Group, algorithm: LanguageModelling, folder: Path) -> TrainState:
        sharding = split_batch(self.mesh, self.config.mesh.rules)
        taught = group[0].teacher is not None
        sealed = fingerprint(self.fingerprint, [vars(rung) for rung in group])
        with Checkpoints(folder / "checkpoints", sealed, 1, 1) as checkpoints:
            checkpoints.claim()
            return Training(
                algorithm=algorithm,
                batches=self.windows("student" if taught else "teacher"),
                config=algorithm.config,
                checkpoints=checkpoints,
                metrics={r.name: MetricsLog(self.folder(r) / "metrics.jsonl") for r in group},
                compute_path=folder / "compute.jsonl",
                place=lambda batch: jax.device_put(batch, sharding),
                count=lambda batch: {"tokens": batch.shape[0] * (batch.shape[1] - 1)},
                validate=lambda state: {},
            ).run()

    def _measured(self, algorithm: LanguageModelling, state: TrainState) -> Mapping[str, Counter]:
        """By run, means over the tokens of the validation text, and how many tokens there are."""
        sharding = split_batch(self.mesh, self.config.mesh.rules)
        sums: dict[str, Counter] = {name: Counter() for name in algorithm.students}
        for batch in self.windows("validation").once():
            found = jax.device_get(algorithm.measure(state, jax.device_put(batch, sharding)))
            for name, each in found.items():
                sums[name].update({what: float(total) for what, total in each.items()})
                sums[name]["tokens"] += batch.shape[0] * (batch.shape[1] - 1)
        return {
            name: Counter({w: v if w == "tokens" else v / each["tokens"] for w, v in each.items()})
            for name, each in sums.items()
        }

    def write_table(self) -> dict[str, Any]:
        """All runs that are done, as `fit` reads them, and a chart; -> what to print."""
        rows = [row for rung in self.config.rungs if (row := self.row(rung))]
        write_rows(rows, self.config.folder)
        losses = {row["run_id"]: round(row["loss"], 4) for row in rows}
        return {
            "runs": len(rows),
            "losses": losses,
            "table": str(self.config.folder / "runs.parquet"),
            "chart": str(self.config.folder / "runs.png"),
        }
