"""Runs as columns that the fit knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# What a run must say whatever the law, and what it may say besides.
NEEDED = ("N", "D", "loss")
OPTIONAL = ("teacher_loss", "weight")
# What its operations a token are counted from, where all runs say it (language_models.Shape).
MODELS = ("context", "vocabulary", "layers", "width")
WORDS = ("run", "teacher", "tokenizer", "status")
_SHOWN = 5


@dataclass(frozen=True)
class Table:
    """numbers: float64 [n] by name, nan where nothing is said. words: by name, None there.

    unread: by number's name, what a cell says that is no number, None elsewhere. files, rows [n]:
    where each run stands, as `Sheet` counts. needed: names of numbers that a run must say. notes:
    what was left out, and why.
    """

    numbers: dict[str, np.ndarray]
    words: dict[str, np.ndarray]
    unread: dict[str, np.ndarray]
    files: np.ndarray
    rows: np.ndarray
    needed: tuple[str, ...]
    notes: list[str]

    @property
    def judged(self) -> tuple[str, ...]:
        """Names of numbers that must be above 0 where a run says them."""
        return *self.needed, *(name for name in OPTIONAL if name not in self.needed)

    def where(self, chosen: np.ndarray) -> "Table":
        """Those of a mask [n] or of numbers."""
        return Table(
            _chosen(self.numbers, chosen),
            _chosen(self.words, chosen),
            _chosen(self.unread, chosen),
            self.files[chosen],
            self.rows[chosen],
            self.needed,
            self.notes,
        )

    def places(self, most: int = _SHOWN) -> str:
        """Where its runs stand, as "a.csv lines 2, 7; b.csv line 3, ..."."""
        by_file: dict[str, list[str]] = {}
        for file, row in zip(self.files[:most], self.rows[:most], strict=True):
            by_file.setdefault(file, []).append(str(row))
        told = "; ".join(_place(file, rows) for file, rows in by_file.items())
        return told + (", ..." if len(self.rows) > most else "")


def _place(file: str, rows: Sequence[str]) -> str:
    kind = "row" if file.lower().endswith(".parquet") else "line"
    return f"{file} {kind}{'s' if len(rows) > 1 else ''} {', '.join(rows)}"


def _chosen(columns: Mapping[str, np.ndarray], chosen: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[chosen] for name, column in columns.items()}


def said(words: np.ndarray) -> np.ndarray:
    """[n]: which of them are not None."""
    return np.array([each is not None for each in words], bool)
