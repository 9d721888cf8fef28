"""The training stage: puts algorithm, loader, validation and checkpoints together."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from distil_jax import processes
from distil_jax.algorithms.sequence_distillation import SequenceDistillation, Student
from distil_jax.allocator import keep_freed_memory
from distil_jax.data.batch import SpeechBatch, place_batch
from distil_jax.data.loader import make_loader
from distil_jax.data.speech import Clip
from distil_jax.errors import UserError
from distil_jax.evaluation.error_rates import corpus_error_rate
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.mesh import own_rows, split_batch
from distil_jax.models.layers import Compute
from distil_jax.pipeline.examples import loader_config, split_examples, target_tokens
from distil_jax.pipeline.filter import check_filtered, filter_scores, filtered_labels
from distil_jax.pipeline.label import check_labels
from distil_jax.pipeline.session import Session, compute_dtype
from distil_jax.pipeline.signals import with_signals
from distil_jax.run import fingerprint, read_jsonl
from distil_jax.training.checkpoint import Checkpoints
from distil_jax.training.loop import Training
from distil_jax.training.state import TrainState
from distil_jax.training.telemetry import MetricsLog


def train_stage(session: Session) -> dict[str, Any]:
    """Train the students up to their last step, from wherever an earlier run got to."""
    config = session.config.train
    session.check_training()
    check_labels(session)
    check_filtered(session)
    with open_checkpoints(session) as checkpoints:
        checkpoints.claim()
        session.write_config()
        if (checkpoints.latest or 0) < config.steps:
            if jax.default_backend() == "cpu":
                keep_freed_memory()
            _training(session, checkpoints).run()
    session.quarantine.merge()
    with open_checkpoints(session) as checkpoints:
        best = {name: checkpoints.best(name) for name in session.students}
    return {
        "steps": config.steps,
        **session.for_each_student(lambda name: _outcome(session, name, best[name])),
        "checkpoints": str(session.folder.checkpoints),
    }


def _outcome(session: Session, student: str, best: int | None) -> dict[str, Any]:
    rows = read_jsonl(session.folder.of_student(student).metrics)
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    rates = {row["step"]: row["error_rate"] for row in rows if row["kind"] == "validation"}
    return {
        "loss": losses[-1] if losses else None,
        "best_step": best,
        "validation_error_rate": rates.get(best),
    }


def make_algorithm(session: Session) -> SequenceDistillation:
    config = session.config
    return SequenceDistillation(
        teacher_config=session.teacher.config,
        teacher_params=session.teacher.params,
        students={
            name: Student(shape, session.newborn_student(name))
            for name, shape in session.students.items()
        },
        objectives=config.objectives,
        config=config.train,
        compute=Compute(
            dtype=compute_dtype(config.train.dtype),
            remat=config.train.remat,
            attention=config.train.attention,
        ),
        mesh=session.mesh,
        rules=config.mesh.rules,
        teacher_rules=config.mesh.teacher_rules,
        teacher_weights=config.teacher.weight_dtype,
        signals=config.signals,
    )


def open_checkpoints(session: Session) -> Checkpoints:
    train = session.config.train
    return Checkpoints(
        session.folder.checkpoints,
        train_fingerprint(session),
        train.keep_latest,
        train.keep_best,
        list(session.students),
    )


def train_fingerprint(session: Session) -> str:
    """What the students depend on: teacher, labels, kept clips, how they are trained and chosen."""
    config = session.config
    return fingerprint(
        session.teacher.fingerprint,
        [session.label_fingerprint(name) for name in config.data.train],
        filtered_labels(session),
        filter_scores(session, ["id", "corpus", "kept"]),
        config.seed,
        {name: student.model_dump() for name, student in config.named_students.items()},
        [objective.model_dump() for objective in config.objectives],
        config.train.model_dump(exclude={"log_every", "keep_latest", "keep_best"}),
        {name: source.model_dump(mode="json") for name, source in config.data.validation.items()},
        *([config.signals.model_dump(exclude={"path", "shard_size"})] if config.signals else []),
    )


def trained_student(session: Session, name: str) -> tuple[dict, int]:
    """(parameters on the host, step) of a student at its best checkpoint."""
    algorithm = make_algorithm(session)
    with open_checkpoints(session) as checkpoints:
        found = checkpoints.best_params(algorithm.abstract_state(), name)
    if found is None:
        raise UserError(
            f"{session.folder.checkpoints} has no checkpoint; run `distil-jax train` first"
        )
    params, step = found
    return algorithm.student(processes.on_host(params), name), step


def _training(session: Session, checkpoints: Checkpoints) -> Training:
    config, folder = session.config.train, session.folder
    positions = session.teacher.config.max_target_positions
    examples, apart = split_examples(session)
    if session.config.signals:
        examples = with_signals(session, examples)
    algorithm = make_algorithm(session)
    ids = target_tokens(session.teacher.vocabulary, positions)
    sharding = split_batch(session.mesh, session.config.mesh.rules)
    rows = own_rows(config.batch_size, sharding)
    loader = make_loader(examples, ids, loader_config(session, config.batch_size, rows))
    return Training(
        algorithm=algorithm,
        batches=loader,
        config=config,
        checkpoints=checkpoints,
        metrics={n: MetricsLog(folder.of_student(n).metrics) for n in session.students},
        compute_path=folder.compute,
        place=lambda batch: place_batch(batch, rows, sharding),
        count=_count,
        validate=_Validation(session, algorithm, _validation_clips(session) or apart),
    )


def _count(batch: SpeechBatch) -> dict[str, float]:
    return {
        "clips": len(batch.inputs),
        "audio_seconds": round(float(batch.seconds.sum(dtype=np.float64)), 3),
        "target_tokens": int(batch.mask.sum()),
    }


def _validation_clips(session: Session) -> list[Clip]:
    """This process's share of what the config names."""
    corpora = session.corpora("validation").values()
    return [c for corpus in corpora for c in session.clips(corpus.name, processes.mine(corpus))]


class _Validation:
    """Each student's error rate on a few clips, decoded as in evaluation.

    chosen: this process's share of them; all processes learn the rates over all clips.
    """

    def __init__(self, session: Session, algorithm: SequenceDistillation, chosen: Sequence[Clip]):
        self._algorithm, self._clips = algorithm, chosen
        self._transcribers: dict[str, Transcriber] = {
            name: session.transcriber(shape, session.config.evaluate)
            for name, shape in session.students.items()
        }

    def __call__(self, state: TrainState) -> dict[str, float]:
        """By student; empty where there are no clips."""
        if not any(processes.gather(len(self._clips))):
            return {}
        # Decoding stays within a process, which then needs all of what may lie across them.
        trained = state.params if processes.count() == 1 else processes.on_host(state.params)
        rates = {name: self._error_rate(name, trained) for name in self._transcribers}
        return {name: rate for name, rate in rates.items() if rate is not None}

    def _error_rate(self, name: str, trained: dict[str, dict]) -> float | None:
        transcriber = self._transcribers[name]
        params = transcriber.place(self._algorithm.student(trained, name))
        pairs = transcriber(params, self._clips)
        rows = [(clip.text, label.text, clip.language or label.language) for clip, label in pairs]
        return corpus_error_rate(row for own in processes.gather(rows) for row in own)
