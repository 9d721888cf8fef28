"""Recordings of the user's own, of any length, through a model."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from distil_jax import processes
from distil_jax.data.audio_stream import stated_seconds
from distil_jax.data.folders import ListCorpus
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Corpus, SpeechConfig, open_corpus
from distil_jax.errors import UserError
from distil_jax.labelling.alignment.aligner import Aligner
from distil_jax.labelling.draft import Draft, acceptance, check_vocabulary
from distil_jax.labelling.settings import DecodeConfig
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.longform.formats import as_dict
from distil_jax.longform.transcribe import transcribe
from distil_jax.longform.transcript import Recording, Transcript, recordings
from distil_jax.models.alignment_heads import alignment_heads
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.pretrained import load_pretrained
from distil_jax.pipeline.alignment import known_heads
from distil_jax.pipeline.outputs import Outputs
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.shares import Share
from distil_jax.pipeline.train import trained_student
from distil_jax.pipeline.transcribe_options import TranscribeOptions
from distil_jax.progress import Progress, progress
from distil_jax.run import ONLY_STUDENT

log = logging.getLogger(__name__)
_INEXACT = 0.01  # of what headers say how long a recording is


def transcribe_stage(
    session: Session,
    audio: list[Path],
    model: str,
    student: str | None,
    options: TranscribeOptions,
) -> dict[str, Any]:
    """model: "student" (of the best checkpoint), "teacher", or a folder of weights.

    student: which one of several. Windows of all recordings fill batches together; files are
    written as soon as a recording is through.
    """
    corpora, outputs = _corpora(audio), options.outputs()
    if outputs:
        for corpus in corpora:
            outputs.name(corpus.name, corpus)
        outputs.prepare()
    session.check_decoding("evaluate")
    if student is not None and "student" not in (model, options.draft):
        raise UserError(
            f"--student {student} goes with --model student or --draft student only; got --model "
            f"{model}"
        )
    transcriber, params = _model(session, model, student, options.decoding(session.config.evaluate))
    if options.draft is not None:
        draft = _draft(session, options, model, student, transcriber.model, params)
        transcriber = replace(transcriber, draft=draft)
    aligner = _aligner(transcriber, model) if options.words else None
    shares = {corpus.name: Share(corpus) for corpus in corpora}
    quarantine, rows = Quarantine(None), {name: [] for name in shares}
    known = session.teacher.vocabulary.codes
    found = (
        recording
        for name, share in shares.items()
        for recording in recordings(name, share, quarantine, known)
    )
    with progress(total=_seconds(corpora), description="transcribe", unit="s of audio") as bar:
        placed, seconds = transcriber.place(params), _Seconds(bar)
        given = transcriber, placed, found, quarantine
        for transcript in transcribe(options.long_form, *given, seconds.heard, aligner):
            row = _told(transcript, outputs)
            rows[transcript.recording.corpus].append((transcript.recording.id, row))
    told = [row for name, share in shares.items() for row in share.gather(rows[name])]
    aside = [row for rows in processes.gather(quarantine.rows) for row in rows]
    segments = [segment for row in told for segment in row.pop("segments", [])]
    asked = transcriber.config.timestamps or options.words
    timed = {"segments": segments} if asked and not outputs else {}
    drafted = sum(map(Counter, processes.gather(transcriber.take_drafted())), Counter())
    how = {"draft": options.draft, "speculative": acceptance(drafted)} if options.draft else {}
    return {"model": model, **how, "recordings": told, **timed, "set_aside": aside}


def _told(transcript: Transcript, outputs: Outputs | None) -> dict[str, Any]:
    """What the result says of a recording: its files, or else its text and segments."""
    row, stated = as_dict(transcript), stated_seconds(transcript.recording.audio)
    if stated > row["duration"] + max(1.0, _INEXACT * stated):
        log.warning(
            "%s: %s: only %.0f of %.0f s could be read, as it is damaged or its header wrong",
            *(row["source"], row["id"], row["duration"], stated),
        )
    whose = {key: row[key] for key in ("source", "id")}
    if outputs:
        told = {key: row[key] for key in ("duration", "language")}
        return {**whose, **told, "files": outputs.write(transcript)}
    return {**row, "segments": [{**whose, **segment} for segment in row["segments"]]}


def _corpora(audio: list[Path]) -> list[Corpus]:
    """What each path holds; a path that is named twice counts once."""
    for path in audio:
        if not path.exists():
            raise UserError(f"--audio {path}: no such file or folder")
    return [open_corpus(name, SpeechConfig(path=name)) for name in dict.fromkeys(map(str, audio))]


def _seconds(corpora: list[Corpus]) -> int | None:
    """How long this process's recordings are, as far as their headers say; None: unknown."""
    if not all(isinstance(corpus, ListCorpus) for corpus in corpora):
        return None  # to read the headers would be to read the tables
    return round(sum(stated_seconds(u.audio) for corpus in corpora for u in Share(corpus)))


class _Seconds:
    """Moves a progress bar by whole seconds of sound."""

    def __init__(self, bar: Progress):
        self._bar, self._heard, self._told = bar, 0.0, 0

    def heard(self, recording: Recording, seconds: float) -> None:
        self._heard += seconds
        self._bar.advance(round(self._heard) - self._told, note=recording.id)
        self._told = round(self._heard)


def _model(
    session: Session, model: str, student: str | None, decode: DecodeConfig
) -> tuple[Transcriber, dict]:
    if model == "teacher":
        return session.teacher_transcriber(decode), session.teacher.params
    if model == "student":
        name = _chosen(session, student)
        params, step = trained_student(session, name)
        transcriber = session.transcriber(session.students[name], decode)
        return _with_heads(transcriber, known_heads(session, name, step)), params
    loaded = load_pretrained(model)
    if loaded.config.vocab_size != session.teacher.config.vocab_size:
        raise UserError(
            f"--model {model}: its vocabulary has {loaded.config.vocab_size} tokens, the config's "
            f"teacher {session.teacher.config.vocab_size}; give a config with a teacher of its kind"
        )
    transcriber = session.transcriber(loaded.config, decode)
    return _with_heads(transcriber, loaded.generation_config.get("alignment_heads")), loaded.params


def _with_heads(transcriber: Transcriber, heads: Sequence[Sequence[int]] | None) -> Transcriber:
    """With alignment heads in place of the teacher's."""
    changed = {**transcriber.generation_config, "alignment_heads": heads}
    return replace(transcriber, generation_config=changed)


def _aligner(transcriber: Transcriber, model: str) -> Aligner:
    if model == "student" and not transcriber.generation_config["alignment_heads"]:
        raise UserError(
            "--words: no alignment heads are known of this student; run `distil-jax export` first, "
            "which finds them (with export.alignment_clips)"
        )
    heads = alignment_heads(transcriber.generation_config, transcriber.model)
    return Aligner(transcriber, heads)


def _draft(
    session: Session,
    options: TranscribeOptions,
    model: str,
    student: str | None,
    shape: ModelConfig,
    params: dict,
) -> Draft:
    """For the model of this shape and these parameters."""
    assert options.draft is not None
    if options.draft == "student":
        if model == "student":
            raise UserError("--draft student: it cannot draft for itself; give --model teacher")
        name = _chosen(session, student)
        drafting, (own, _) = session.students[name], trained_student(session, name)
    else:
        loaded = load_pretrained(options.draft)
        check_vocabulary(loaded, session.teacher)
        drafting, own = loaded.config, loaded.params
    return Draft.of(drafting, own, options.draft_tokens, shape, params)


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
