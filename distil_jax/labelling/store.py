"""Labels on disk: Parquet files of so many utterances each, written whole or not at all."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from distil_jax.errors import UserError
from distil_jax.run import atomic_path, read_json, write_json

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("corpus", pa.string()),
        ("utterance", pa.string()),
        ("start", pa.float64()),
        ("duration", pa.float64()),
        ("audio", pa.binary()),
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
    ]
)


@dataclass(frozen=True)
class LabelStore:
    """The labels of one corpus. A shard is there with all its rows, or not there."""

    folder: Path

    def claim(self, fingerprint: str) -> None:
        """Note what the labels are made with; labels made otherwise are an error, never mixed."""
        path = self.folder / "made_with.json"
        found = read_json(path)
        if found is None:
            write_json(path, {"fingerprint": fingerprint})
        elif found["fingerprint"] != fingerprint:
            raise UserError(
                f"{self.folder} holds labels made with another teacher, corpus or label settings. "
                f"Choose another run_dir, or remove that folder to label anew."
            )

    def shard(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.parquet"

    def has(self, index: int) -> bool:
        return self.shard(index).exists()

    def write(self, index: int, rows: list[dict]) -> None:
        with atomic_path(self.shard(index)) as path:
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)

    def finish(self, shards: int) -> None:
        """Note that the corpus is labelled to its end."""
        write_json(self.folder / "finished.json", {"shards": shards})

    @property
    def finished(self) -> bool:
        return (self.folder / "finished.json").exists()

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """All rows in the order of the corpus. Raises UserError when labelling has not ended."""
        done = read_json(self.folder / "finished.json")
        if done is None:
            raise UserError(
                f"{self.folder}: labelling is not finished; run `distil-jax label` first"
            )
        tables = [_read(self.shard(index), columns) for index in range(done["shards"])]
        return pa.concat_tables(tables) if tables else SCHEMA.empty_table()


def _read(path: Path, columns: list[str] | None) -> pa.Table:
    try:
        return pq.ParquetFile(path).read(columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(
            f"{path} cannot be read ({error}); remove it and run `distil-jax label` again: only "
            f"its utterances are labelled anew"
        ) from None
