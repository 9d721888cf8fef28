"""What was set aside, and why: nothing stops a run, and nothing vanishes."""

from pathlib import Path

from distil_jax.run import append_jsonl, read_jsonl


class Quarantine:
    """quarantine.jsonl: one row per utterance set aside, however often it is met.

    path: None keeps the rows in memory only.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self.rows: list[dict] = read_jsonl(path) if path else []
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
            append_jsonl(self._path, self.rows[-1:])
