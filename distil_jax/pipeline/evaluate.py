"""The evaluation stage: teacher and student side by side on each evaluation set."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distil_jax import processes
from distil_jax.data.speech import Clip, Corpus
from distil_jax.evaluation.error_rates import compare
from distil_jax.labelling.transcriber import Label, Transcriber
from distil_jax.models.architecture import decoding_flops
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.shares import Share
from distil_jax.pipeline.train import train_fingerprint, trained_student
from distil_jax.progress import progress
from distil_jax.run import append_jsonl, atomic_path, fingerprint, read_json, write_json
from distil_jax.training.telemetry import Stopwatch, compute_row


def evaluate_stage(session: Session) -> dict[str, Any]:
    """Decode every evaluation set with both models and compare. Sets done before are left."""
    folder = session.folder.evaluation
    session.check_decoding("evaluate")
    student, step = trained_student(session)
    session.write_config()
    decode = session.config.evaluate
    models = {
        "teacher": _Model.make(session.teacher_transcriber(decode), session.teacher.params),
        "student": _Model.make(session.transcriber(session.student_config, decode), student),
    }
    summary = {}
    for corpus in session.corpora("evaluation").values():
        compared = _found(session, corpus.name, step)
        if compared is None:
            compared = _evaluate(session, corpus, models)
            made_with = _fingerprint(session, corpus.name, step)
            result = {"made_with": made_with, "compared": compared}
            if processes.is_writer():
                write_json(folder / f"{corpus.name}.json", result)
        summary[corpus.name] = compared
    session.quarantine.merge()
    if processes.is_writer():
        write_json(folder / "summary.json", summary)
    processes.barrier("evaluated")
    return {"step": step, "sets": summary}


def evaluated(session: Session, step: int) -> dict[str, dict]:
    """What is known of the student of this very training and step, by evaluation set."""
    sets = {name: _found(session, name, step) for name in session.config.data.evaluation}
    return {name: compared for name, compared in sets.items() if compared is not None}


def _found(session: Session, name: str, step: int) -> dict[str, Any] | None:
    found = read_json(session.folder.evaluation / f"{name}.json")
    if found is None or found["made_with"] != _fingerprint(session, name, step):
        return None
    return found["compared"]


def _fingerprint(session: Session, name: str, step: int) -> str:
    data = session.config.data.evaluation[name].model_dump(mode="json")
    settings = session.config.evaluate.model_dump()
    return fingerprint(train_fingerprint(session), step, settings, data)


@dataclass(frozen=True, eq=False)
class _Model:
    """A model ready to decode. params: on the devices; parameters: how many numbers."""

    transcriber: Transcriber
    params: dict
    parameters: int

    @classmethod
    def make(cls, transcriber: Transcriber, params: dict) -> "_Model":
        count = sum(int(np.size(a)) for a in jax.tree.leaves(params))
        return cls(transcriber, transcriber.place(params), count)


def _evaluate(session: Session, corpus: Corpus, models: dict[str, _Model]) -> dict[str, Any]:
    decoded: dict[str, list[dict]] = {}
    timings: dict[str, dict] = {}
    for name, model in models.items():
        decoded[name], timings[name] = _decode(session, corpus, name, model)
    columns = ("id", "language", "duration", "reference")
    rows = [
        {
            **{column: row[column] for column in columns},
            **{name: found[i]["text"] for name, found in decoded.items()},
        }
        for i, row in enumerate(decoded["teacher"])
    ]
    if processes.is_writer():
        with atomic_path(session.folder.evaluation / f"{corpus.name}.parquet") as path:
            pq.write_table(pa.Table.from_pylist(rows), path)
    compared = compare(rows, seed=session.config.seed, resamples=session.config.evaluate.resamples)
    for name, timing in timings.items():
        compared[name] |= timing
    return compared


def _decode(
    session: Session, corpus: Corpus, name: str, model: _Model
) -> tuple[list[dict], dict[str, Any]]:
    """(a row for every clip, timings). Compiling is not in their seconds."""
    watch, share, own = Stopwatch(), Share(corpus), []
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
    flops = {"encoder_forward": encoder, f"{name}_forward": decoder}
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
