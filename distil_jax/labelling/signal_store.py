"""A signals cache on disk: safetensors files of so many clips each, written whole or not at all.

A file is mapped into memory, and of it only the clips asked for are read. What it holds stands in
its header: no central file is needed to write it in parts, or to find a clip again.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from distil_jax.data.batch import StoredSignals
from distil_jax.errors import UserError
from distil_jax.run import atomic_path, read_json, write_json

log = logging.getLogger(__name__)


class ClipKey(NamedTuple):
    """A clip and what its decoder reads: target is a fingerprint of that, of so many positions."""

    corpus: str
    id: str
    target: str
    positions: int


@dataclass(frozen=True)
class _Place:
    """Where a clip is: its file, its row in it, its first position and the one after its last."""

    path: Path
    row: int
    start: int
    end: int
    temperature: float


@dataclass(frozen=True, eq=False)
class SignalStore:
    """The cache of one run. A shard is there with all its clips, or not there."""

    folder: Path
    _open: dict[Path, Any] = field(default_factory=dict)

    def claim(self, made_with: dict[str, Any]) -> None:
        """Note what the cache is made with; one made otherwise is an error, never mixed."""
        if any(self.folder.glob("shard-*.safetensors")):
            self.check(made_with)
        else:
            write_json(self.folder / "made_with.json", made_with)

    def check(self, made_with: dict[str, Any]) -> None:
        """Raises UserError where there is no cache, or one made otherwise; says what differs."""
        found = read_json(self.folder / "made_with.json")
        if found is None:
            raise UserError(f"{self.folder} has no signals cache; run `distil-jax cache` first")
        differing = [
            f"{name} is {found.get(name)!r} there and {wanted!r} here"
            for name, wanted in made_with.items()
            if found.get(name) != wanted
        ]
        if differing:
            raise UserError(
                f"{self.folder} was made otherwise: {'; '.join(differing)}. Use the same "
                f"settings, or choose another run_dir (or signals.path), or remove that folder to "
                f"make it anew."
            )

    def shard(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.safetensors"

    def has(self, index: int, clips: Sequence[ClipKey]) -> bool:
        """Whether a shard is there with just these clips; a damaged one is as good as none."""
        path = self.shard(index)
        if not path.exists():
            return False
        try:
            return [key for key, *_ in _header(path)] == list(clips)
        except UserError as error:
            log.warning("%s", error)
            return False

    def write(self, index: int, clips: Sequence[ClipKey], signals: Sequence[StoredSignals]) -> None:
        """Raises UserError for numbers that the storage type cannot hold, and on a full disk."""
        joins = {"log_probs": np.concatenate, "tokens": np.concatenate, "encoded": np.stack}
        kept = {
            name: join([getattr(each, name) for each in signals])
            for name, join in joins.items()
            if getattr(signals[0], name) is not None
        }
        path = self.shard(index)
        _check_finite(path, kept)
        # In one entry: safetensors writes several in an order that differs from run to run.
        header = {"cache": json.dumps({"clips": clips, "temperature": signals[0].temperature})}
        with atomic_path(path) as temporary:
            try:
                save_file(kept, temporary, header)
            except SafetensorError as error:
                raise UserError(f"{path} cannot be written: {error}") from error

    def drop_after(self, count: int) -> None:
        """Remove the shards from number `count` on: they are of clips no longer trained on."""
        for path in self.folder.glob("shard-*.safetensors"):
            if path.name >= self.shard(count).name:
                path.unlink()

    def find(self, clips: Sequence[ClipKey]) -> list[Callable[[], StoredSignals]]:
        """For each clip what reads it. Raises UserError when one is not there."""
        lacking = [key for key in clips if key not in self._places]
        if lacking:
            same = {key[:2] for key in self._places} & {key[:2] for key in lacking}
            other = f" ({len(same)} of them are there with other labels)" if same else ""
            raise UserError(
                f"{self.folder} lacks {len(lacking)} of {len(clips)} clips{other}, the first of "
                f"them {lacking[0].id!r} of {lacking[0].corpus!r}. Run `distil-jax cache` (for the "
                f"run that the cache belongs to, if signals.path names one)."
            )
        return [partial(self._read, self._places[key]) for key in clips]

    @cached_property
    def _places(self) -> dict[ClipKey, _Place]:
        paths = sorted(self.folder.glob("shard-*.safetensors"))
        return {key: place for path in paths for key, place in _header(path)}

    def _read(self, place: _Place) -> StoredSignals:
        file = self._open.get(place.path)
        if file is None:
            file = self._open[place.path] = safe_open(place.path, "numpy")
        names, rows = file.keys(), slice(place.start, place.end)
        return StoredSignals(
            log_probs=file.get_slice("log_probs")[rows],
            tokens=file.get_slice("tokens")[rows] if "tokens" in names else None,
            temperature=place.temperature,
            encoded=file.get_slice("encoded")[place.row] if "encoded" in names else None,
        )


def _header(path: Path) -> list[tuple[ClipKey, _Place]]:
    """The clips of a shard in their order. Raises UserError when it cannot be read."""
    try:
        with safe_open(path, "numpy") as file:
            header = json.loads(file.metadata()["cache"])
            rows, temperature = header["clips"], header["temperature"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); run `distil-jax cache` again: only its clips are "
            f"made anew"
        ) from None
    found, start = [], 0
    for number, clip in enumerate(ClipKey(*row) for row in rows):
        end = start + clip.positions
        found.append((clip, _Place(path, number, start, end, temperature)))
        start = end
    return found


def _check_finite(path: Path, arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(
                f"{path}: {name} has numbers that {array.dtype} cannot hold, or that are none. "
                f"With signals.dtype=float16 try float32; else look at the teacher's weights."
            )
