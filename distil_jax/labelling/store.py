"""Labels on disk: Parquet files of so many utterances each, written whole or not at all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distil_jax import processes
from distil_jax.errors import UserError
from distil_jax.run import atomic_path, fingerprint, read_json, write_json

_CONTENT = b"utterances"  # the key of a shard's metadata that holds a hash of their content

_AUDIO = pa.schema([("utterance", pa.string()), ("audio", pa.binary())])

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("corpus", pa.string()),
        ("utterance", pa.string()),
        ("start", pa.float64()),
        ("duration", pa.float64()),
        ("reference", pa.string()),
        ("language", pa.string()),
        ("speaker", pa.string()),
        ("label", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("ended", pa.bool_()),
        ("mean_logprob", pa.float64()),
        ("mean_entropy", pa.float64()),
        ("no_speech_prob", pa.float64()),
        ("compression_ratio", pa.float64()),
        ("temperature", pa.float64()),
    ]
)


@dataclass(frozen=True)
class LabelStore:
    """The labels of one corpus. A shard is there with all its rows, or not there.

    what, verb: in messages; for what else is kept so of every clip, with a schema of its own.
    """

    folder: Path
    schema: pa.Schema = SCHEMA
    what: str = "labels made with another teacher, corpus or label settings"
    verb: str = "label"

    def claim(self, fingerprint: str) -> None:
        """Note what the labels are made with; labels made otherwise are an error, never mixed."""
        if not self.check(fingerprint) and processes.is_writer():
            write_json(self._made_with, {"fingerprint": fingerprint})

    def check(self, fingerprint: str) -> bool:
        """Whether there are labels. Raises UserError for those that were made otherwise."""
        found = read_json(self._made_with)
        begun = any(self.folder.glob("*.parquet")) or (self.folder / "finished.json").exists()
        if found is None or not begun:
            return False
        if found["fingerprint"] != fingerprint:
            raise UserError(
                f"{self.folder} holds {self.what}. Choose another run_dir, or remove that folder "
                f"to {self.verb} anew."
            )
        return True

    @property
    def _made_with(self) -> Path:
        return self.folder / "made_with.json"

    def shard(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.parquet"

    def _audio(self, index: int) -> Path:
        return self.folder / f"audio-{index:05d}.parquet"

    def has(self, index: int, content: str) -> bool:
        """Whether a shard is there. One of other utterances (a hash of them) is an error."""
        path = self.shard(index)
        if not path.exists():
            return False
        if (_reading(path, pq.read_schema).metadata or {}).get(_CONTENT) != content.encode():
            raise UserError(
                f"the recordings or transcripts of {path} changed since it was made. Remove it to "
                f"{self.verb} its utterances anew, or choose another run_dir."
            )
        return True

    def write_audio(self, index: int, recordings: Mapping[str, bytes]) -> None:
        """Keep the recordings of a shard, by utterance; each is a row group, to be read alone."""
        rows = [{"utterance": id, "audio": audio} for id, audio in recordings.items()]
        with atomic_path(self._audio(index)) as path:
            pq.write_table(pa.Table.from_pylist(rows, _AUDIO), path, row_group_size=1)

    def fetch(self, utterance: str) -> bytes:
        """A recording that was kept."""
        path, row = self._kept_audio[utterance]
        group = _reading(path, lambda path: pq.ParquetFile(path).read_row_group(row, ["audio"]))
        return group["audio"][0].as_py()

    @cached_property
    def _kept_audio(self) -> dict[str, tuple[Path, int]]:
        """Where the recording of each utterance is: file and row group."""
        places = {}
        for index in range(_finished(self.folder)["shards"]):
            path = self._audio(index)
            ids = _reading(path, lambda path: pq.ParquetFile(path).read(["utterance"]))
            places |= {id: (path, row) for row, id in enumerate(ids["utterance"].to_pylist())}
        return places

    def write(self, index: int, content: str, rows: list[dict]) -> None:
        """content: a hash of the utterances that the rows are of."""
        schema = self.schema.with_metadata({_CONTENT: content})
        with atomic_path(self.shard(index)) as path:
            pq.write_table(pa.Table.from_pylist(rows, schema), path)

    def finish(self, shards: list[str], state: str | None) -> None:
        """Note that the corpus is labelled to its end. shards: the content of each, in order."""
        done = {"shards": len(shards), "content": fingerprint(shards), "state": state}
        write_json(self.folder / "finished.json", done)

    def finished(self, state: str | None) -> bool:
        """Whether every shard is there, and the corpus in the state (if known) that it was in."""
        done = read_json(self.folder / "finished.json")
        if done is None or state not in (None, done.get("state")):
            return False
        return all(self.shard(index).exists() for index in range(done["shards"]))

    @property
    def content(self) -> str:
        """A hash of all that is labelled. Raises UserError when labelling has not ended."""
        return _finished(self.folder).get("content", "")  # none in older runs

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """All rows in the order of the corpus. Raises UserError when labelling has not ended."""
        paths = [self.shard(index) for index in range(_finished(self.folder)["shards"])]
        tables = [_reading(path, lambda path: pq.ParquetFile(path).read(columns)) for path in paths]
        empty = self.schema.empty_table().select(columns or self.schema.names)
        return pa.concat_tables(tables or [empty])


def _finished(folder: Path) -> dict:
    done = read_json(folder / "finished.json")
    if done is None:
        raise UserError(f"{folder}: labelling is not finished; run `distil-jax label` first")
    return done


def _reading(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(
            f"{path} cannot be read ({error}); remove it and run `distil-jax label` again: only "
            f"its utterances are labelled anew"
        ) from None
