"""Folders that take their place in one stroke, and what goes into them."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distil_jax.errors import UserError


@contextmanager
def atomic_folder(path: Path, weights: Sequence[str]) -> Iterator[Path]:
    """Yield a new folder beside `path` that takes its place when the block succeeds.

    weights: files, by their paths inside, of which a folder that may be replaced holds one.
    """
    path = path.absolute()
    _check_replaceable(path, weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (path.with_name(f".{path.name}.{role}") for role in ("partial", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for each in (*partial.rglob("*"), partial):
            _flush(each)
        if path.exists():
            path.rename(old)
        partial.rename(path)
        _flush(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _check_replaceable(path: Path, weights: Sequence[str]) -> None:
    holds = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    is_model = any((path / name).is_file() for name in weights)
    if (path.exists() and not path.is_dir()) or (holds and not is_model):
        raise UserError(
            f"the export would replace {path}, which is not a model (it holds "
            f"{', '.join(holds[:5]) or 'a file'}). Give another folder, or remove it."
        )


def _flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_texts(folder: Path, texts: dict[str, str]) -> None:
    """Text files of a folder, by name."""
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def json_text(value: Any) -> str:
    """A JSON file's text. NaN is an error."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
