"""The folder that a run leaves: its layout, and writes that survive a kill at any moment."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distil_jax.errors import UserError

ONLY_STUDENT = "student"  # what a run's student is called where it has no name


def of_student(what: str, student: str) -> str:
    """What a log calls a student's own: `loss`, or `loss.small` of one that has a name."""
    return what if student == ONLY_STUDENT else f"{what}.{student}"


@dataclass(frozen=True)
class RunFolder:
    """Where each stage of one run keeps what it made."""

    root: Path

    def of_student(self, name: str) -> "RunFolder":
        """Where a student's metrics, evaluation and export are: a folder laid out as a run's.

        That of a run's only student is the run's own.
        """
        return self if name == ONLY_STUDENT else RunFolder(self.root / "students" / name)

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def labels(self) -> Path:
        return self.root / "labels"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine.jsonl"

    @property
    def scores(self) -> Path:
        return self.root / "scores"

    @property
    def filter(self) -> Path:
        return self.root / "filter"

    @property
    def signals(self) -> Path:
        return self.root / "signals"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def trained(self) -> bool:
        """Whether a checkpoint is there. What it was made of may no longer change."""
        return any(path.name.isdigit() for path in self.checkpoints.glob("*"))

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def compute(self) -> Path:
        return self.root / "compute.jsonl"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    @property
    def export(self) -> Path:
        return self.root / "export"

    @property
    def report(self) -> Path:
        return self.root / "report.html"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial{path.suffix}")
    try:
        with _naming(path):
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """An error of the system names the file: that of a write, unlike that of `open`, does not."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


def check_writable(path: Path) -> None:
    """Before the work whose result a file is to hold. Raises UserError where it cannot be."""
    if path.is_dir():
        raise UserError(f"{path}: got a folder, expected the name of a file to write")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{path} cannot be written: no permission to write in {path.parent}")


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, atomically. NaN is an error."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The value of a JSON file, or None where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def append_jsonl(path: Path, rows: Iterable[dict]) -> None:
    """Append rows to a JSON-lines file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _drop_torn_line(path)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    # File names need not be UTF-8; what of one is not stands in the log as an escape.
    with _naming(path), open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


def _drop_torn_line(path: Path) -> None:
    """Cut off what a kill left of a last line, so that the next line stands for itself."""
    if not path.exists() or not path.stat().st_size:
        return
    with open(path, "rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def read_jsonl(path: Path) -> list[dict]:
    """The rows of a JSON-lines file; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def fingerprint(*values: Any) -> str:
    """A short stable hash of JSON values: two stages with the same one do the same work."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
