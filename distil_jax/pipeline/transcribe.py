"""Recordings of the user's own through a model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from distil_jax import processes
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import SpeechConfig, clips, open_corpus
from distil_jax.errors import UserError
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.models.pretrained import load_pretrained
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.shares import Share
from distil_jax.pipeline.train import trained_student
from distil_jax.progress import progress
from distil_jax.run import ONLY_STUDENT


def transcribe_stage(
    session: Session, audio: list[Path], model: str, student: str | None
) -> dict[str, Any]:
    """model: "student" (of the best checkpoint), "teacher", or a folder of weights.

    student: which one of several.
    """
    for path in audio:
        if not path.exists():
            raise UserError(f"--audio {path}: no such file or folder")
    session.check_decoding("evaluate")
    transcriber, params = _model(session, model, student)
    placed = transcriber.place(params)
    quarantine = Quarantine(None)
    results = []
    for path in audio:
        corpus = open_corpus(str(path), SpeechConfig(path=str(path)))
        share, rows = Share(corpus), []
        # Transcripts beside them do not matter, nor that those of long ones cannot be divided.
        untold = (replace(utterance, text=None) for utterance in share)
        codes = session.teacher.vocabulary.codes
        pairs = transcriber(placed, clips(corpus.name, untold, quarantine, codes))
        for clip, label in progress(pairs, share.count, f"transcribe {path.name}", "clips"):
            row = {
                "source": clip.corpus,
                "id": clip.id,
                "start": clip.start,
                "duration": round(clip.duration, 3),
                "language": label.language,
                "text": label.text,
            }
            rows.append((clip.utterance, row))
        results += share.gather(rows)
    aside = [row for rows in processes.gather(quarantine.rows) for row in rows]
    return {"model": model, "clips": results, "set_aside": aside}


def _model(session: Session, model: str, student: str | None) -> tuple[Transcriber, dict]:
    if student is not None and model != "student":
        raise UserError(f"--student {student} goes with --model student only; got --model {model}")
    decode = session.config.evaluate
    if model == "teacher":
        return session.teacher_transcriber(decode), session.teacher.params
    if model == "student":
        name = _chosen(session, student)
        params, _ = trained_student(session, name)
        return session.transcriber(session.students[name], decode), params
    loaded = load_pretrained(model)
    if loaded.config.vocab_size != session.teacher.config.vocab_size:
        raise UserError(
            f"--model {model}: its vocabulary has {loaded.config.vocab_size} tokens, the config's "
            f"teacher {session.teacher.config.vocab_size}; give a config with a teacher of its kind"
        )
    return session.transcriber(loaded.config, decode), loaded.params


def _chosen(session: Session, student: str | None) -> str:
    """The name of the student to take: the only one, or that of several which is named."""
    names = list(session.students)
    if ONLY_STUDENT in names:
        if student is None:
            return ONLY_STUDENT
        raise UserError(
            f"--student {student}: this run has one student without a name; leave it out"
        )
    if student not in names:
        got = f"--student {student}: no such student" if student else "which student?"
        raise UserError(f"{got}; give --student NAME, one of {', '.join(names)}")
    return student
