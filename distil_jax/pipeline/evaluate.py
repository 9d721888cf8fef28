"""The evaluation stage: teacher and student side by side on each evaluation set."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distil_jax.data.speech import Clip, Corpus, clips
from distil_jax.evaluation.error_rates import compare
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.train import train_fingerprint, trained_student
from distil_jax.progress import progress
from distil_jax.run import append_jsonl, atomic_path, fingerprint, read_json, write_json
from distil_jax.training.telemetry import Stopwatch, compute_row

log = logging.getLogger(__name__)


def evaluate_stage(session: Session) -> dict[str, Any]:
    """Decode every evaluation set with both models and compare. Sets done before are left."""
    config, folder = session.config, session.folder.evaluation
    student, step = trained_student(session)
    models = {
        "teacher": (session.teacher.config, session.teacher.params),
        "student": (session.student_config, student),
    }
    summary = {}
    for corpus in session.corpora("evaluation").values():
        made_with = fingerprint(
            train_fingerprint(session),
            step,
            config.evaluate.model_dump(),
            config.data.evaluation[corpus.name].model_dump(mode="json"),
        )
        path = folder / f"{corpus.name}.json"
        found = read_json(path)
        if found is None or found["made_with"] != made_with:
            found = {"made_with": made_with, "step": step, **_evaluate(session, corpus, models)}
            write_json(path, found)
        summary[corpus.name] = {k: v for k, v in found.items() if k not in ("made_with", "step")}
    write_json(folder / "summary.json", summary)
    return {"step": step, "sets": summary}


def _evaluate(session: Session, corpus: Corpus, models: dict[str, tuple]) -> dict[str, Any]:
    texts: dict[str, list[str]] = {}
    timings: dict[str, dict] = {}
    chosen: list[Clip] = []
    for name, (model, params) in models.items():
        transcriber = session.transcriber(model, session.config.evaluate)
        placed = transcriber.place(params)
        stream = _Timed(clips(corpus.name, corpus, session.quarantine))
        texts[name], chosen, timings[name] = _decode(transcriber, placed, stream, corpus, name)
        timings[name]["parameters"] = sum(int(np.size(a)) for a in jax.tree.leaves(params))
        append_jsonl(session.folder.compute, [_compute_row(name, chosen, timings[name])])
    rows = [
        {
            "id": clip.id,
            "language": clip.language,
            "duration": clip.duration,
            "reference": clip.text,
            **{name: texts[name][i] for name in models},
        }
        for i, clip in enumerate(chosen)
    ]
    with atomic_path(session.folder.evaluation / f"{corpus.name}.parquet") as path:
        pq.write_table(pa.Table.from_pylist(rows), path)
    compared = compare(rows, seed=session.config.seed, resamples=session.config.evaluate.resamples)
    return {
        name: {**values, **timings.get(name, {})} if isinstance(values, dict) else values
        for name, values in compared.items()
    }


def _decode(
    transcriber: Transcriber, params: dict, stream: "_Timed", corpus: Corpus, name: str
) -> tuple[list[str], list[Clip], dict]:
    """(texts, their clips without samples, timings). Reading audio does not count as decoding."""
    compile_seconds = transcriber.warm_up(params)
    texts, chosen = [], []
    title = f"evaluate {corpus.name}, {name}"
    start = time.perf_counter()
    pairs = transcriber(params, stream)
    for clip, label in progress(pairs, total=corpus.count, description=title, unit="clips"):
        texts.append(label.text)
        chosen.append(clip.without_samples())
    seconds = time.perf_counter() - start - stream.seconds
    audio_seconds = sum(clip.duration for clip in chosen)
    timings = {
        "audio_seconds": round(audio_seconds, 3),
        "seconds": round(seconds, 3),
        "compile_seconds": round(compile_seconds, 3),
        "real_time_factor": round(seconds / audio_seconds, 5) if audio_seconds else None,
    }
    return texts, chosen, timings


class _Timed:
    """An iterable of clips that knows how long it was waited for."""

    def __init__(self, source: Iterable[Clip]):
        self._source = source
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Clip]:
        source = iter(self._source)
        while True:
            start = time.perf_counter()
            clip = next(source, None)
            self.seconds += time.perf_counter() - start
            if clip is None:
                return
            yield clip


def _compute_row(name: str, chosen: list[Clip], timings: dict) -> dict:
    watch = Stopwatch()
    watch.seconds.update(compile=timings["compile_seconds"], evaluation=timings["seconds"])
    counts = {"clips": len(chosen), "audio_seconds": timings["audio_seconds"], "target_tokens": 0}
    return compute_row(f"evaluate {name}", 0, counts, {}, watch.take())
