"""Clips through a model, with the time and the work that it takes written down."""

from collections.abc import Iterable
from typing import Any

from distil_jax import processes
from distil_jax.data.speech import Clip
from distil_jax.labelling.transcriber import Label
from distil_jax.models.architecture import decoding_flops
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.shares import Share
from distil_jax.pipeline.side_by_side import Model
from distil_jax.progress import progress
from distil_jax.run import append_jsonl, of_student
from distil_jax.training.telemetry import Stopwatch, compute_row

# (a row for every clip, timings)
Decoded = tuple[list[dict], dict[str, Any]]


def decode(
    session: Session, model: Model, title: str, share: Share, clips: Iterable[Clip]
) -> Decoded:
    """By all processes together, each its share. Compiling is not in the seconds.

    clips: of the share's utterances, as they are to be heard.
    """
    watch, own = Stopwatch(), []
    bar = progress(total=share.count, description=f"evaluate {title}, {model.name}", unit="clips")
    with bar, watch.measure("evaluation"):
        for clip, label in model.transcriber(model.params, clips):
            own.append((clip.utterance, _row(clip, label)))
            bar.advance()
        rows = share.gather(own)
    return rows, write_down(session, model, rows, len(rows), watch)


def write_down(
    session: Session, model: Model, rows: list[dict], windows: int, watch: Stopwatch
) -> dict[str, Any]:
    """A row for compute.jsonl; -> timings. windows: how often the encoder ran for these rows."""
    timings = _timings(model, rows, watch)
    if processes.is_writer():
        append_jsonl(session.folder.compute, [_compute(model, rows, windows, timings, watch)])
    return timings


def _timings(model: Model, rows: list[dict], watch: Stopwatch) -> dict[str, Any]:
    seconds = watch.seconds["evaluation"]
    audio_seconds = sum(row["duration"] for row in rows)
    return {
        "parameters": model.parameters,
        "audio_seconds": round(audio_seconds, 3),
        "seconds": round(seconds, 3),
        "compile_seconds": round(watch.seconds["compile"], 3),
        "real_time_factor": round(seconds / audio_seconds, 5) if audio_seconds else None,
    }


def _compute(
    model: Model, rows: list[dict], windows: int, timings: dict[str, Any], watch: Stopwatch
) -> dict:
    tokens = sum(row["tokens"] for row in rows)
    counts = {
        "clips": windows,
        "audio_seconds": timings["audio_seconds"],
        "target_tokens": tokens,
    }
    encoder, decoder = decoding_flops(model.transcriber.model, windows, tokens)
    part = of_student(f"{model.role}_forward", model.student)
    flops = {"encoder_forward": encoder, part: decoder}
    return compute_row(f"evaluate {model.name}", 0, counts, flops, watch.take())


def _row(clip: Clip, label: Label) -> dict[str, Any]:
    """What is kept of a decoded clip. named: whether the data name its language."""
    return {
        "id": clip.id,
        "language": clip.language or label.language,
        "named": clip.language is not None,
        "duration": clip.duration,
        "reference": clip.text,
        "text": label.text,
        "tokens": len(label.tokens),
        "no_speech_prob": label.no_speech_prob,
        "mean_logprob": label.mean_logprob,
    }
