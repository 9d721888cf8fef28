"""How long a clip of a set takes at each batch size."""

from collections.abc import Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from distil_jax import processes
from distil_jax.data.speech import Clip, Corpus
from distil_jax.evaluation.latency import compare_latency, time_batches
from distil_jax.evaluation.settings import LatencyConfig
from distil_jax.pipeline.comparison import of_set
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.side_by_side import Measure, Model, Role


def latency(session: Session, corpus: Corpus, config: LatencyConfig) -> Measure:
    """Of the first clips of a set, as many as the largest batch has; fewer are taken again.

    One process measures, on one device; the others wait.
    """

    def take(model: Model) -> dict[str, Any]:
        own = _measure(model, _first_clips(session, corpus, max(config.batches)), config)
        return processes.gather(own)[0]

    depends = (of_set(session, corpus.name), config.model_dump(mode="json"))
    return Measure(f"latency/{corpus.name}", depends, take, _compare, corpus.state)


def _first_clips(session: Session, corpus: Corpus, count: int) -> list[Clip]:
    if not processes.is_writer():
        return []
    first = list(islice(session.clips(corpus.name, corpus), count))
    return list(islice(cycle(first), count))


def _measure(model: Model, clips: list[Clip], config: LatencyConfig) -> dict[str, Any]:
    """By batch size, which JSON has as text."""
    if not clips:
        return {}
    return {
        str(batch): time_batches(model.transcriber, model.params, clips, batch, config.repeats)
        for batch in config.batches
    }


def _compare(sides: Mapping[Role, dict], path: Path) -> list[dict[str, Any]]:
    return [
        compare_latency(int(batch), {role: times[batch] for role, times in sides.items()})
        for batch in sides["teacher"]
    ]
