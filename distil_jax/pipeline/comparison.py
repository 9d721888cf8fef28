"""The error rates on an evaluation set, as its clips are or changed."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distil_jax import processes
from distil_jax.data.speech import Clip, Corpus
from distil_jax.evaluation.error_rates import compare, hallucination_by_clip
from distil_jax.evaluation.languages import by_language
from distil_jax.pipeline.decoding import Decoded, decode
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.shares import Share
from distil_jax.pipeline.side_by_side import Measure, Model, Role
from distil_jax.run import atomic_path


def comparison(
    session: Session,
    corpus: Corpus,
    name: str | None = None,
    change: Callable[[Clip], Clip] = lambda clip: clip,
    depends: tuple[Any, ...] = (),
) -> Measure:
    """Teacher and student on a set. change: what is done to each clip before it is heard.

    name: of the files, by default the set's; depends: what the change depends on.
    """

    def take(model: Model) -> Decoded:
        share = Share(corpus)
        clips = map(change, session.clips(corpus.name, share))
        return decode(session, model, name or corpus.name, share, clips)

    compared = partial(compare_rows, session)
    depends = (of_set(session, corpus.name), *depends)
    return Measure(name or corpus.name, depends, take, compared, corpus.state)


def of_set(session: Session, name: str) -> dict[str, Any]:
    """What results on an evaluation set depend on of the config."""
    data = session.config.data
    settings = data.compared[name].model_dump(mode="json")
    if name in data.long_form:
        settings["long_form"] = session.config.evaluate.long_form.model_dump(mode="json")
    return settings


def compare_rows(session: Session, sides: Mapping[Role, Decoded], path: Path) -> dict[str, Any]:
    """What both wrote for the same recordings as a table beside `path`; -> error rates."""
    decoded = {role: rows for role, (rows, _) in sides.items()}
    columns = ("id", "language", "duration", "reference")
    rows = [
        {
            **{column: row[column] for column in columns},
            **{role: found[i]["text"] for role, found in decoded.items()},
        }
        for i, row in enumerate(decoded["teacher"])
    ]
    by_clip = zip(rows, hallucination_by_clip(rows), strict=True)
    write_table(path.with_suffix(".parquet"), [{**row, **found} for row, found in by_clip])
    drawn = {"seed": session.config.seed, "resamples": session.config.evaluate.resamples}
    # A language that was detected is the teacher's word, and may be the mistake.
    named = [row for row, told in zip(rows, decoded["teacher"], strict=True) if told["named"]]
    compared = {**compare(rows, **drawn), **by_language(named, **drawn)}
    for role, (_, timings) in sides.items():
        compared[role] |= timings
    return compared


def write_table(path: Path, rows: list[dict]) -> None:
    """Rows as Parquet, by the process that writes."""
    if processes.is_writer():
        with atomic_path(path) as temporary:
            pq.write_table(pa.Table.from_pylist(rows), temporary)
