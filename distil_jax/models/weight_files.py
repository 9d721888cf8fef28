"""Finding a model's files: folders, hub ids, installed packages, or several of them together."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distil_jax.errors import UserError
from distil_jax.locations import PACKAGE_PREFIX, resolve

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
# Of the many files of a hub repository only one copy of the weights is wanted.
_HUB_FILES = [
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.bin",
    "*.json",
    "*.txt",
]


def model_files(locations: Sequence[str], revision: str | None = None) -> dict[str, Path]:
    """The files of one model by name, gathered from all locations.

    A location is a folder, a file, `package:NAME/path`, or a hub id `owner/name` (at `revision`).
    Raises UserError when one is missing, or when two of them hold weights of the same name.
    """
    files: dict[str, Path] = {}
    for location in locations:
        for path in _listing(_folder(location, revision)):
            if path.name in files and path.name.startswith("model"):
                raise UserError(f"two files called {path.name}: {files[path.name]} and {path}")
            files.setdefault(path.name, path)
    return files


def bin_parts(files: dict[str, Path]) -> list[Path]:
    """CTranslate2's model.bin, or its parts model.bin.part1, .part2, ... in order; [] if none."""
    if "model.bin" in files:
        return [files["model.bin"]]
    numbers = [m[1] for name in files if (m := re.fullmatch(r"model\.bin\.part(\d+)", name))]
    parts = [f"model.bin.part{i + 1}" for i in range(len(numbers))]
    lacking = [part for part in parts if part not in files]
    if lacking:
        raise UserError(
            f"of the {len(numbers)} parts of model.bin found, part {', '.join(sorted(numbers))}, "
            f"expected {', '.join(parts)}: {', '.join(lacking)} is missing. "
            f"Name the locations of all parts."
        )
    return [files[part] for part in parts]


def read_object(files: Mapping[str, Path], name: str) -> dict[str, Any]:
    """The JSON object in the file called `name`; {} where there is no such file."""
    if name not in files:
        return {}
    try:
        value = json.loads(files[name].read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{files[name]}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{files[name]}: expected a JSON object, got {type(value).__name__}")
    return value


def _listing(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]


def _folder(location: str, revision: str | None) -> Path:
    is_path = location.startswith(PACKAGE_PREFIX) or Path(location).expanduser().exists()
    if is_path or not _HUB_ID.fullmatch(location):
        return resolve(location)
    return _download(location, revision)


def _download(hub_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=_HUB_FILES))
    except (OSError, HFValidationError) as error:  # every error of the hub and the network is one
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"'{hub_id}' is no folder here, and could not be had from the Hugging Face hub"
            f"{f' at revision {revision}' if revision else ''} ({type(error).__name__}: {reason}). "
            f"Check its name and the network, or give a folder that holds the model "
            f"(`hf download {hub_id} --local-dir FOLDER` makes one)."
        ) from error
