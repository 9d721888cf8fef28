"""What the models write for clips in which nobody speaks."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distil_jax.data.speech import Clip, Utterance
from distil_jax.evaluation.no_speech import compare_false_alarms
from distil_jax.evaluation.probes import probe
from distil_jax.evaluation.settings import NoSpeechConfig, ProbeKind
from distil_jax.pipeline.comparison import write_table
from distil_jax.pipeline.decoding import decode
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.shares import Share
from distil_jax.pipeline.side_by_side import Measure, Model, Role


def false_alarms(session: Session, config: NoSpeechConfig) -> Measure:
    """All kinds of clips without speech, made as they are needed."""
    probes = _Probes(config, session.config.seed)

    def take(model: Model) -> list[dict]:
        share = Share(probes)
        rows, _ = decode(session, model, probes.name, share, map(probes.clip, share))
        return [{**row, "kind": probes.kind(row["id"])} for row in rows]

    return Measure("no_speech", (config.model_dump(mode="json"),), take, _compare)


class _Probes:
    """Utterances that are nowhere on a disk."""

    name = "no_speech"

    def __init__(self, config: NoSpeechConfig, seed: int):
        self._seconds, self._seed = config.seconds, seed
        self._places: dict[str, tuple[ProbeKind, int]] = {
            f"{kind}-{number}": (kind, number)
            for number in range(config.clips)
            for kind in config.kinds
        }

    @property
    def count(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Utterance]:
        return (Utterance(id, None) for id in self._places)

    def kind(self, id: str) -> ProbeKind:
        return self._places[id][0]

    def clip(self, utterance: Utterance) -> Clip:
        kind, number = self._places[utterance.id]
        return probe(utterance.id, kind, number, self._seconds, self._seed)


def _compare(sides: Mapping[Role, list[dict]], path: Path) -> dict[str, Any]:
    rows = [
        {
            **{column: row[column] for column in ("id", "kind", "duration")},
            **{
                name if key == "text" else f"{name}_{key}": found[i][key]
                for name, found in sides.items()
                for key in ("text", "no_speech_prob", "mean_logprob")
            },
        }
        for i, row in enumerate(sides["teacher"])
    ]
    write_table(path.with_suffix(".parquet"), rows)
    return compare_false_alarms(sides)
