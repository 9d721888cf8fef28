"""What was set aside, and why: nothing stops a run, and nothing vanishes."""

from pathlib import Path

from distil_jax.processes.parts import merge_parts, own_part, read_parts
from distil_jax.run import append_jsonl


class Quarantine:
    """quarantine.jsonl: one row per utterance set aside, however often it is met.

    path: None keeps the rows in memory only. Of several processes each writes a file of its own,
    until `merge`.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self._read()

    def _read(self) -> None:
        self.rows: list[dict] = read_parts(self._path) if self._path else []
        self._known = {(row["corpus"], row["id"]) for row in self.rows}

    @property
    def count(self) -> int:
        return len(self.rows)

    def add(self, corpus: str, id: str, reason: str) -> None:
        if (corpus, id) in self._known:
            return
        self._known.add((corpus, id))
        self.rows.append({"id": id, "corpus": corpus, "reason": reason})
        if self._path:
            append_jsonl(own_part(self._path), self.rows[-1:])

    def merge(self) -> None:
        """Make it one file, which all processes know. All must call it."""
        if self._path:
            merge_parts(self._path)
            self._read()
