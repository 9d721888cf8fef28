"""The evaluation stage: teacher and students side by side on each evaluation set."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distil_jax import processes
from distil_jax.data.speech import Clip, Corpus
from distil_jax.evaluation.error_rates import compare
from distil_jax.labelling.label import Label
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.models.architecture import decoding_flops
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.shares import Share
from distil_jax.pipeline.train import train_fingerprint, trained_student
from distil_jax.progress import progress
from distil_jax.run import (
    ONLY_STUDENT,
    append_jsonl,
    atomic_path,
    fingerprint,
    of_student,
    read_json,
    write_json,
)
from distil_jax.training.telemetry import Stopwatch, compute_row


def evaluate_stage(session: Session) -> dict[str, Any]:
    """Decode every evaluation set with all models and compare. Sets done before are left.

    The teacher decodes a set once, however many students are compared with it.
    """
    session.check_decoding("evaluate")
    trained = {name: trained_student(session, name) for name in session.students}
    steps = {name: step for name, (_, step) in trained.items()}
    session.write_config()
    decode = session.config.evaluate
    teacher = _Model.make("teacher", session.teacher_transcriber(decode), session.teacher.params)
    students = {
        name: _Model.make(
            "student", session.transcriber(session.students[name], decode), params, name
        )
        for name, (params, _) in trained.items()
    }
    summaries: dict[str, dict] = {name: {} for name in students}
    for corpus in session.corpora("evaluation").values():
        found = {name: _found(session, name, corpus.name, steps[name]) for name in students}
        missing = [name for name, compared in found.items() if compared is None]
        decoded = _decode(session, corpus, teacher) if missing else None
        for name, compared in found.items():
            if decoded and compared is None:
                pair = {"teacher": decoded, "student": _decode(session, corpus, students[name])}
                compared = _compare(session, corpus, name, pair)
                made_with = _fingerprint(session, name, corpus.name, steps[name])
                result = {"made_with": made_with, "compared": compared}
                if processes.is_writer():
                    write_json(_folder(session, name) / f"{corpus.name}.json", result)
            summaries[name][corpus.name] = compared
    session.quarantine.merge()
    if processes.is_writer():
        for name, summary in summaries.items():
            write_json(_folder(session, name) / "summary.json", summary)
    processes.barrier("evaluated")
    return session.for_each_student(lambda n: {"step": steps[n], "sets": summaries[n]})


def evaluated(session: Session, student: str, step: int) -> dict[str, dict]:
    """What is known of a student of this very training and step, by evaluation set."""
    sets = {name: _found(session, student, name, step) for name in session.config.data.evaluation}
    return {name: compared for name, compared in sets.items() if compared is not None}


def _folder(session: Session, student: str) -> Path:
    return session.folder.of_student(student).evaluation


def _found(session: Session, student: str, name: str, step: int) -> dict[str, Any] | None:
    found = read_json(_folder(session, student) / f"{name}.json")
    if found is None or found["made_with"] != _fingerprint(session, student, name, step):
        return None
    return found["compared"]


def _fingerprint(session: Session, student: str, name: str, step: int) -> str:
    data = session.config.data.evaluation[name].model_dump(mode="json")
    settings = session.config.evaluate.model_dump()
    return fingerprint(train_fingerprint(session), student, step, settings, data)


@dataclass(frozen=True, eq=False)
class _Model:
    """A model ready to decode. params: on the devices; parameters: how many numbers.

    student: its name, where the role is that of a student.
    """

    role: Literal["teacher", "student"]
    student: str
    transcriber: Transcriber
    params: dict
    parameters: int

    @classmethod
    def make(
        cls,
        role: Literal["teacher", "student"],
        transcriber: Transcriber,
        params: dict,
        student: str = ONLY_STUDENT,
    ) -> "_Model":
        count = sum(int(np.size(a)) for a in jax.tree.leaves(params))
        return cls(role, student, transcriber, transcriber.place(params), count)


# (a row for every clip, timings)
_Decoded = tuple[list[dict], dict[str, Any]]


def _compare(
    session: Session, corpus: Corpus, student: str, models: Mapping[str, _Decoded]
) -> dict[str, Any]:
    """models: what teacher and student made of the corpus, by role."""
    decoded = {role: rows for role, (rows, _) in models.items()}
    timings = {role: timing for role, (_, timing) in models.items()}
    columns = ("id", "language", "duration", "reference")
    rows = [
        {
            **{column: row[column] for column in columns},
            **{role: found[i]["text"] for role, found in decoded.items()},
        }
        for i, row in enumerate(decoded["teacher"])
    ]
    if processes.is_writer():
        with atomic_path(_folder(session, student) / f"{corpus.name}.parquet") as path:
            pq.write_table(pa.Table.from_pylist(rows), path)
    compared = compare(rows, seed=session.config.seed, resamples=session.config.evaluate.resamples)
    for role, timing in timings.items():
        compared[role] |= timing
    return compared


def _decode(session: Session, corpus: Corpus, model: _Model) -> _Decoded:
    """By all processes together, each its share. Compiling is not in the seconds."""
    watch, share, own = Stopwatch(), Share(corpus), []
    name = of_student(model.role, model.student)
    title = f"evaluate {corpus.name}, {name}"
    bar = progress(total=share.count, description=title, unit="clips")
    with bar, watch.measure("evaluation"):
        for clip, label in model.transcriber(model.params, session.clips(corpus.name, share)):
            own.append((clip.utterance, _row(clip, label)))
            bar.advance()
        rows = share.gather(own)
    seconds = watch.seconds["evaluation"]
    audio_seconds = sum(row["duration"] for row in rows)
    timings = {
        "parameters": model.parameters,
        "audio_seconds": round(audio_seconds, 3),
        "seconds": round(seconds, 3),
        "compile_seconds": round(watch.seconds["compile"], 3),
        "real_time_factor": round(seconds / audio_seconds, 5) if audio_seconds else None,
    }
    tokens = sum(row["tokens"] for row in rows)
    counts = {
        "clips": len(rows),
        "audio_seconds": timings["audio_seconds"],
        "target_tokens": tokens,
    }
    encoder, decoder = decoding_flops(model.transcriber.model, len(rows), tokens)
    part = of_student(f"{model.role}_forward", model.student)
    flops = {"encoder_forward": encoder, part: decoder}
    row = compute_row(f"evaluate {name}", 0, counts, flops, watch.take())
    if processes.is_writer():
        append_jsonl(session.folder.compute, [row])
    return rows, timings


def _row(clip: Clip, label: Label) -> dict[str, Any]:
    """What is kept of a decoded clip. tokens: how many."""
    return {
        "id": clip.id,
        "language": clip.language or label.language,
        "duration": clip.duration,
        "reference": clip.text,
        "text": label.text,
        "tokens": len(label.tokens),
    }
