"""Anything that `datasets` reads: Parquet, Arrow, what it saved to disk, the hub, streams."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from distil_jax.data.speech import SpeechConfig, Utterance
from distil_jax.data.text import language_code
from distil_jax.errors import UserError

TABLE_KINDS = {".parquet": "parquet", ".arrow": "arrow"}
_SAVED = ("state.json", "dataset_dict.json")  # what Dataset.save_to_disk leaves


@dataclass(frozen=True)
class TableCorpus:
    """A `datasets` dataset. Audio stays encoded: decoding in `datasets` would take torchcodec."""

    name: str
    config: SpeechConfig
    dataset: Any = field(repr=False)

    @property
    def random_access(self) -> bool:
        return not self.config.streaming

    @property
    def count(self) -> int | None:
        if self.config.streaming or self.config.share != (0.0, 1.0):
            return None  # the limit may be more than there are
        return min(len(self.dataset), self.config.limit or len(self.dataset))

    @property
    def state(self) -> str | None:
        """What `datasets` tells one dataset from another by."""
        return None if self.config.streaming else str(self.dataset._fingerprint)

    def __iter__(self) -> Iterator[Utterance]:
        every = (self._utterance(number, row) for number, row in enumerate(self._rows()))
        shared = (u for u in every if self.config.takes(u.id))
        yield from islice(shared, self.config.limit)

    def fetch(self, utterance: str) -> Path | bytes:
        number = int(utterance.rpartition("-")[2])
        audio = _audio(self.dataset[number][self.config.audio_column])
        if audio is None:
            raise UserError(f"data {self.name} has no recording {utterance!r} any more")
        return audio

    def _rows(self) -> Iterator[dict]:
        try:
            yield from self.dataset
        except Exception as error:  # of a damaged file or a lost connection, of many types
            raise UserError(f"data {self.name}: {self.config.path} broke off: {error}") from error

    def _utterance(self, number: int, row: dict) -> Utterance:
        config, id = self.config, f"{self.config.split}-{number:08d}"
        text = row.get(config.text_column)
        if not isinstance(text, str | None):
            return Utterance(id, None, problem=f"its {config.text_column} is not text: {text!r}")
        try:
            audio = _audio(row[config.audio_column])
        except Exception as error:  # of whatever file system the path names
            return Utterance(id, None, problem=f"not reachable: {type(error).__name__}")
        return Utterance(
            id=id,
            audio=audio,
            text=text,
            language=language_code(_cell(row, config.language_column) or config.language),
            speaker=_cell(row, config.speaker_column),
        )


def _cell(row: dict, column: str | None) -> str | None:
    value = row.get(column) if column else None
    return None if value is None else str(value)


def _audio(cell: dict | None) -> Path | bytes | None:
    """From a cell of datasets.Audio(decode=False): bytes, else what its path names."""
    if not cell:
        return None
    if cell.get("bytes") is not None:
        return cell["bytes"]
    path = cell.get("path")
    if path and "://" in path:  # a stream of single files
        from datasets.utils.file_utils import xopen

        with xopen(path, "rb") as file:
            return file.read()
    return Path(path) if path else None


def holds_tables(path: Path) -> bool:
    """Whether a folder was saved by `datasets`, or is a dataset of Parquet files."""
    if not path.is_dir():
        return False
    saved = any((path / name).exists() for name in _SAVED)
    return saved or any(path.glob("*.parquet")) or any(path.glob("*/*.parquet"))


def open_table(name: str, config: SpeechConfig, path: Path | None) -> TableCorpus:
    """path: on this disk; None: config.path is an id on the hub."""
    try:
        dataset = _load(config, path)
    except UserError:
        raise
    except Exception as error:  # `datasets` and the hub's client raise dozens of types
        looked = "it is not on this disk, and on the hub" if path is None else "it"
        raise UserError(f"{config.path}: {looked} cannot be opened: {error}") from error
    columns = dataset.column_names
    if columns is not None:
        dataset = dataset.select_columns(_wanted_columns(config, columns))
    try:
        return TableCorpus(name, config, _undecoded(dataset, config.audio_column))
    except Exception as error:
        raise UserError(
            f"{config.path}: column {config.audio_column!r} holds no audio: {error}",
            key="audio_column",
        ) from error


def _undecoded(dataset: Any, column: str) -> Any:
    """The dataset with its audio as bytes or path. Raises when the column holds something else."""
    import datasets

    audio = datasets.Audio(decode=False)
    if dataset.features:  # of a stream, the cast itself would raise only when it is read
        kind = datasets.Features({column: dataset.features[column]})
        datasets.Dataset.from_dict({column: []}, kind).cast_column(column, audio)
    return dataset.cast_column(column, audio)


def _wanted_columns(config: SpeechConfig, columns: list[str]) -> list[str]:
    """Those of the config, of which only `text` may be missing: the rest need not be decoded."""
    fields = ("audio_column", "text_column", "language_column", "speaker_column")
    wanted = {key: getattr(config, key) for key in fields if getattr(config, key)}
    optional = SpeechConfig.model_fields["text_column"].default
    for key, column in wanted.items():
        if column not in columns and (key, column) != ("text_column", optional):
            raise UserError(
                f"{config.path} has no column {column!r}; it has {', '.join(columns)}", key=key
            )
    return [column for column in dict.fromkeys(wanted.values()) if column in columns]


def _load(config: SpeechConfig, path: Path | None) -> Any:
    import datasets

    stream = config.streaming
    if path is None or (path.is_dir() and not any((path / name).exists() for name in _SAVED)):
        source = config.path if path is None else str(path)
        return datasets.load_dataset(source, config.name, split=config.split, streaming=stream)
    if path.is_dir():
        saved = _split_of(datasets.load_from_disk(str(path)), config)
        return saved.to_iterable_dataset() if stream else saved
    kind, files = TABLE_KINDS[path.suffix], [str(path)]
    return datasets.load_dataset(kind, data_files=files, split="train", streaming=stream)


def _split_of(saved: Any, config: SpeechConfig) -> Any:
    if not isinstance(saved, dict):
        return saved
    if config.split not in saved:
        raise UserError(
            f"{config.path} has no split {config.split!r}; it has {', '.join(map(str, saved))}",
            key="split",
        )
    return saved[config.split]
