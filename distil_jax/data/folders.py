"""Recordings in files: a manifest, or a folder with or without text files beside the audio."""

import json
import logging
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from distil_jax.data.speech import SpeechConfig, Utterance
from distil_jax.data.text import language_code
from distil_jax.errors import UserError
from distil_jax.run import fingerprint

MANIFEST = "manifest.jsonl"
AUDIO_ENDINGS = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf"}
# Recordings that libsndfile does not read: they are set aside rather than overlooked.
_OTHER_AUDIO = {".m4a", ".aac", ".wma", ".amr", ".webm", ".mka", ".mp4"}

log = logging.getLogger(__name__)


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

    @property
    def state(self) -> str | None:
        return fingerprint([utterance.content for utterance in self.utterances])

    @cached_property
    def _audio(self) -> dict[str, Path | bytes | None]:
        return {utterance.id: utterance.audio for utterance in self.utterances}

    def fetch(self, utterance: str) -> Path | bytes:
        audio = self._audio.get(utterance)
        if audio is None:
            raise UserError(f"data {self.name} has no recording {utterance!r} any more")
        return audio


def listed(path: Path, config: SpeechConfig) -> Iterator[Utterance]:
    """What a folder, a manifest or a single recording holds.

    Ids are the paths of the recordings inside the folder. What is listed twice counts once: again,
    it has an id of its own and a problem.
    """
    seen: set[str] = set()
    for number, utterance in enumerate(_found(path), start=1):
        if utterance.id in seen:
            problem = f"{utterance.id} is listed more than once"
            utterance = Utterance(f"{utterance.id}~{number}", None, problem=problem)
        seen.add(utterance.id)
        yield replace(utterance, language=language_code(utterance.language or config.language))


def _found(path: Path) -> Iterator[Utterance]:
    manifest = path / MANIFEST if path.is_dir() else path
    if manifest.suffix == ".jsonl" and manifest.is_file():
        return _manifest(manifest)
    if path.is_file():
        return iter([_recording(path, path.name)])
    return _folder(path)


def _folder(folder: Path) -> Iterator[Utterance]:
    files = _recordings(folder)
    if not files:
        raise UserError(
            f"{folder} holds neither {MANIFEST} nor audio ({', '.join(sorted(AUDIO_ENDINGS))})"
        )
    for file in files:
        yield _recording(file, file.relative_to(folder).as_posix())


def _recordings(folder: Path) -> list[Path]:
    endings = AUDIO_ENDINGS | _OTHER_AUDIO
    files = (file for file in folder.rglob("*") if file.suffix.lower() in endings)
    return sorted(file for file in files if not file.is_dir())


def _recording(file: Path, name: str) -> Utterance:
    """A recording, and the text beside it where there is one."""
    beside = file.with_suffix(".txt")
    try:
        text = _read(beside).strip() if beside.exists() else None
    except OSError as error:
        return Utterance(_clean(name), None, problem=f"{beside.name}: {error.strerror}")
    return Utterance(_clean(name), file, text)


def _manifest(path: Path) -> Iterator[Utterance]:
    named = set()
    # Not splitlines: a transcript may hold a line separator of Unicode.
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if line.strip():
            utterance = _manifest_line(path, number, line)
            named.add(utterance.audio)
            yield utterance
    unlisted = [file.name for file in _recordings(path.parent) if file not in named]
    if unlisted:
        _say_once(
            f"{path.parent}: {len(unlisted)} recordings are not in {path.name} and are left out "
            f"(the first is {unlisted[0]})"
        )


def _manifest_line(path: Path, number: int, line: str) -> Utterance:
    where = f"{path.name} line {number}"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Utterance(where, None, problem=f"{where} is not JSON: {error}")
    if not isinstance(row, dict) or not isinstance(row.get("audio"), str) or not row["audio"]:
        return Utterance(where, None, problem=f'{where} has no "audio" with a file name')
    name = posixpath.normpath(row["audio"])
    strings = {key: row.get(key) for key in ("text", "language", "speaker")}
    wrong = [key for key, value in strings.items() if not isinstance(value, str | None)]
    if wrong:
        return Utterance(_clean(name), None, problem=f"{where}: {wrong[0]} is not a string")
    if name.startswith(("../", "/")) or name == "..":
        return Utterance(_clean(name), None, problem=f"{where}: its path leaves the folder")
    cleaned = {key: None if value is None else _clean(value) for key, value in strings.items()}
    return Utterance(_clean(name), path.parent / name, **cleaned)


def _read(path: Path) -> str:
    """UTF-8 with or without a byte order mark; what is not becomes U+FFFD."""
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _clean(text: str) -> str:
    """Text that any file can hold: halves of characters (of odd file names) become escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@cache
def _say_once(message: str) -> None:
    log.warning(message)
