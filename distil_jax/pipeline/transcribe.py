"""Recordings of the user's own through a model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import SpeechConfig, clips, open_corpus
from distil_jax.errors import UserError
from distil_jax.models.pretrained import load_pretrained
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.train import trained_student
from distil_jax.progress import progress


def transcribe_stage(session: Session, audio: list[Path], model: str) -> dict[str, Any]:
    """model: "student" (of the best checkpoint), "teacher", or a folder of weights."""
    for path in audio:
        if not path.exists():
            raise UserError(f"--audio {path}: no such file or folder")
    session.check_decoding("evaluate")
    config, params = _model(session, model)
    transcriber = session.transcriber(config, session.config.evaluate)
    placed = transcriber.place(params)
    quarantine = Quarantine(None)
    results = []
    for path in audio:
        corpus = open_corpus(str(path), SpeechConfig(path=str(path)))
        # Transcripts beside them do not matter, nor that those of long ones cannot be divided.
        untold = (replace(utterance, text=None) for utterance in corpus)
        codes = session.teacher.vocabulary.codes
        pairs = transcriber(placed, clips(corpus.name, untold, quarantine, codes))
        for clip, label in progress(pairs, corpus.count, f"transcribe {path.name}", "clips"):
            results.append(
                {
                    "source": clip.corpus,
                    "id": clip.id,
                    "start": clip.start,
                    "duration": round(clip.duration, 3),
                    "language": label.language,
                    "text": label.text,
                }
            )
    return {"model": model, "clips": results, "set_aside": quarantine.rows}


def _model(session: Session, model: str) -> tuple[Any, dict]:
    if model == "teacher":
        return session.teacher.config, session.teacher.params
    if model == "student":
        return session.student_config, trained_student(session)[0]
    loaded = load_pretrained(model)
    if loaded.config.vocab_size != session.teacher.config.vocab_size:
        raise UserError(
            f"--model {model}: its vocabulary has {loaded.config.vocab_size} tokens, the config's "
            f"teacher {session.teacher.config.vocab_size}; give a config with a teacher of its kind"
        )
    return loaded.config, loaded.params
