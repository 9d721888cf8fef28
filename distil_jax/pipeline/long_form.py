"""Error rates on recordings of any length, heard whole."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from distil_jax.data.speech import Corpus
from distil_jax.longform.transcribe import transcribe
from distil_jax.longform.transcript import Recording, Transcript, recordings
from distil_jax.pipeline.comparison import compare_rows, of_set
from distil_jax.pipeline.decoding import Decoded, write_down
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.shares import Share
from distil_jax.pipeline.side_by_side import Measure, Model
from distil_jax.progress import progress
from distil_jax.training.telemetry import Stopwatch


def long_form(session: Session, corpus: Corpus) -> Measure:
    """Teacher and student on a set of long recordings, as `comparison` on one of clips."""

    def take(model: Model) -> Decoded:
        return _decode(session, model, corpus)

    compared = partial(compare_rows, session)
    return Measure(corpus.name, (of_set(session, corpus.name),), take, compared, corpus.state)


def _decode(session: Session, model: Model, corpus: Corpus) -> Decoded:
    """By all processes together, each its share of the recordings."""
    watch, own, windows, share = Stopwatch(), [], 0, Share(corpus)

    def of_share() -> Iterator[Recording]:
        codes = session.teacher.vocabulary.codes
        return recordings(corpus.name, share, session.quarantine, codes)

    def heard(recording: Recording, seconds: float) -> None:
        nonlocal windows
        windows += 1

    bar = progress(
        total=share.count, description=f"evaluate {corpus.name}, {model.name}", unit="recordings"
    )
    config = session.config.evaluate.long_form
    given = model.transcriber, model.params, of_share(), session.quarantine
    with bar, watch.measure("evaluation"):
        for transcript in transcribe(config, *given, heard):
            own.append((transcript.recording.id, _row(transcript)))
            bar.advance()
        rows = share.gather(own)
    return rows, write_down(session, model, rows, windows, watch)


def _row(transcript: Transcript) -> dict[str, Any]:
    """As of a decoded clip, without what belongs to a single window."""
    recording = transcript.recording
    return {
        "id": recording.id,
        "language": recording.language or transcript.language,
        "named": recording.language is not None,
        "duration": transcript.duration,
        "reference": recording.text,
        "text": transcript.text,
        "tokens": sum(len(segment.tokens) for segment in transcript.segments),
    }
