"""The kinds of corpora: folders of audio, manifests, and anything that `datasets` reads."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from distil_jax.data.speech import Corpus, SpeechConfig, Utterance
from distil_jax.data.text import language_code
from distil_jax.errors import UserError
from distil_jax.locations import resolve

MANIFEST = "manifest.jsonl"
AUDIO_ENDINGS = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au"}
_TABLES = {".parquet": "parquet", ".arrow": "arrow"}


def open_source(name: str, config: SpeechConfig) -> Corpus:
    """See speech.open_corpus."""
    if config.streaming or _is_hub_id(config.path):
        return _open_dataset(name, config, None)
    path = resolve(config.path)
    if not path.exists():
        raise UserError(
            f"data {name}: {config.path} is not there; expected a folder of audio, a table of "
            f"`datasets`, or an id on the hub (owner/name)"
        )
    if path.suffix in _TABLES or _is_dataset(path):
        return _open_dataset(name, config, path)
    shared = (u for u in _listed(path, config) if in_share(u.id, config.share))
    return ListCorpus(name, list(islice(shared, config.limit)))


def in_share(id: str, share: tuple[float, float]) -> bool:
    """Whether the id's hash, as a number from 0 to 1, lies in [low, high)."""
    if share == (0.0, 1.0):
        return True
    digest = hashlib.sha256(id.encode()).digest()
    return share[0] <= int.from_bytes(digest[:7], "big") / 2**56 < share[1]


def _is_hub_id(path: str) -> bool:
    local = path.startswith(("package:", ".", "/", "~")) or Path(path).exists()
    return not local and path.count("/") == 1 and Path(path).suffix not in _TABLES


def _is_dataset(path: Path) -> bool:
    return path.is_dir() and (
        (path / "state.json").exists()
        or (path / "dataset_dict.json").exists()
        or any(path.glob("*.parquet"))
    )


@dataclass(frozen=True)
class ListCorpus:
    """Utterances whose audio lies in files."""

    name: str
    utterances: list[Utterance]
    random_access: bool = True

    @property
    def count(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    @cached_property
    def _audio(self) -> dict[str, Path | bytes | None]:
        return {utterance.id: utterance.audio for utterance in self.utterances}

    def fetch(self, utterance: str) -> Path | bytes:
        audio = self._audio[utterance]
        assert audio is not None, "labelled utterances have audio"
        return audio


def _listed(path: Path, config: SpeechConfig) -> Iterator[Utterance]:
    """What a folder, a manifest or a single recording holds; what is listed twice is said once."""
    manifest = path / MANIFEST if path.is_dir() else path
    if manifest.suffix == ".jsonl" and manifest.exists():
        found = _manifest(manifest)
    elif path.is_file():
        found = iter([Utterance(path.name, path, _text_beside(path))])
    else:
        found = _folder(path)
    seen: set[str] = set()
    for number, utterance in enumerate(found, start=1):
        if utterance.id in seen:
            again = f"{utterance.id}~{number}"
            yield Utterance(again, None, problem=f"{utterance.id} is listed more than once")
            continue
        seen.add(utterance.id)
        yield replace(utterance, language=language_code(utterance.language or config.language))


def _folder(folder: Path) -> Iterator[Utterance]:
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in AUDIO_ENDINGS)
    if not files:
        raise UserError(
            f"{folder} holds neither {MANIFEST} nor audio ({', '.join(sorted(AUDIO_ENDINGS))})"
        )
    for file in files:
        yield Utterance(file.relative_to(folder).as_posix(), file, _text_beside(file))


def _text_beside(file: Path) -> str | None:
    beside = file.with_suffix(".txt")
    return beside.read_text(encoding="utf-8", errors="replace").strip() if beside.exists() else None


def _manifest(path: Path) -> Iterator[Utterance]:
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _manifest_line(path, number, line)


def _manifest_line(path: Path, number: int, line: str) -> Utterance:
    where = f"{path.name} line {number}"
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return Utterance(where, None, problem=f"{where} is not JSON: {error}")
    if not isinstance(row, dict) or not isinstance(row.get("audio"), str):
        return Utterance(where, None, problem=f'{where} has no "audio" with a file name')
    strings = {key: row.get(key) for key in ("text", "language", "speaker")}
    wrong = [key for key, value in strings.items() if not isinstance(value, str | None)]
    if wrong:
        return Utterance(row["audio"], None, problem=f"{where}: {wrong[0]} is not a string")
    file = path.parent / row["audio"]
    if not file.resolve().is_relative_to(path.parent.resolve()):
        return Utterance(row["audio"], None, problem=f"{where}: its path leaves the folder")
    return Utterance(row["audio"], file, **strings)


@dataclass(frozen=True)
class DatasetCorpus:
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
            return self.config.limit
        return min(len(self.dataset), self.config.limit or len(self.dataset))

    def __iter__(self) -> Iterator[Utterance]:
        every = (self._utterance(number, row) for number, row in enumerate(self.dataset))
        shared = (u for u in every if in_share(u.id, self.config.share))
        yield from islice(shared, self.config.limit)

    def fetch(self, utterance: str) -> Path | bytes:
        number = int(utterance.rpartition("-")[2])
        audio = _audio(self.dataset[number][self.config.audio_column])
        assert audio is not None, "labelled utterances have audio"
        return audio

    def _utterance(self, number: int, row: dict) -> Utterance:
        config = self.config
        return Utterance(
            id=f"{config.split}-{number:08d}",
            audio=_audio(row[config.audio_column]),
            text=row.get(config.text_column),
            language=language_code(_cell(row, config.language_column) or config.language),
            speaker=_cell(row, config.speaker_column),
        )


def _cell(row: dict, column: str | None) -> str | None:
    value = row.get(column) if column else None
    return None if value is None else str(value)


def _audio(cell: dict | None) -> Path | bytes | None:
    """From a cell of datasets.Audio(decode=False): bytes, else a path."""
    if not cell:
        return None
    if cell.get("bytes") is not None:
        return cell["bytes"]
    return Path(cell["path"]) if cell.get("path") else None


def _open_dataset(name: str, config: SpeechConfig, path: Path | None) -> DatasetCorpus:
    import datasets

    try:
        dataset = _load(config, path)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"data {name}: {config.path} cannot be opened: {error}") from None
    columns = dataset.column_names
    if columns is not None and config.audio_column not in columns:
        raise UserError(
            f"data {name}: {config.path} has no column {config.audio_column!r}; it has "
            f"{', '.join(columns)} (set audio_column and text_column)"
        )
    audio = datasets.Audio(decode=False)
    return DatasetCorpus(name, config, dataset.cast_column(config.audio_column, audio))


def _load(config: SpeechConfig, path: Path | None) -> Any:
    import datasets

    if path is None and Path(config.path).exists():
        path = resolve(config.path)
    if path is None:
        return datasets.load_dataset(
            config.path, config.name, split=config.split, streaming=config.streaming
        )
    if path.is_dir() and not any(path.glob("*.parquet")):
        loaded = datasets.load_from_disk(str(path))
        return loaded[config.split] if isinstance(loaded, datasets.DatasetDict) else loaded
    files = sorted(str(f) for f in path.glob("*.parquet")) if path.is_dir() else [str(path)]
    kind = _TABLES.get(path.suffix, "parquet")
    return datasets.load_dataset(kind, data_files=files, split="train", streaming=config.streaming)
