"""Tables of runs in CSV or Parquet, anybody's, as columns that the fit knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from distil_jax.errors import UserError

# What a run must say, and what it may say besides.
NEEDED = ("N", "D", "loss")
NUMBERS = (*NEEDED, "teacher_loss", "weight")
WORDS = ("run", "teacher", "tokenizer", "status")
_FINISHED = {"finished", "complete", "completed", "done", "success"}
_READERS = {".csv": pyarrow.csv.read_csv, ".parquet": pyarrow.parquet.read_table}


@dataclass(frozen=True)
class Table:
    """numbers: float64 [n] by name, nan where nothing is said. words: by name, None there.

    rows [n]: numbers of the rows in the files. notes: what was left out, and why.
    """

    numbers: dict[str, np.ndarray]
    words: dict[str, np.ndarray]
    rows: np.ndarray
    notes: list[str]

    def where(self, chosen: np.ndarray) -> "Table":
        return Table(
            {name: column[chosen] for name, column in self.numbers.items()},
            {name: column[chosen] for name, column in self.words.items()},
            self.rows[chosen],
            self.notes,
        )


def read_tables(paths: Sequence[Path], columns: Mapping[str, str]) -> Table:
    """The runs of all files, one after the other, without those that are no use.

    paths: files, or folders of them (of a ladder, its runs.parquet). columns: what the file calls
    a column that goes by another name here, as {"N": "params"}. A teacher that is a `run` of the
    tables need not have its loss said again by those it taught.

    Raises UserError on an unreadable file, a missing column, several tokenizers.
    """
    unknown = set(columns) - {*NUMBERS, *WORDS}
    if unknown:
        raise UserError(
            f"column {', '.join(sorted(unknown))}: got a name that the fit does not know; expected "
            f"some of {', '.join((*NUMBERS, *WORDS))}, as in --column N=params"
        )
    tables = [_read(file, columns) for path in paths for file in _files(path)]
    lacking = [name for name in columns if not any(name in t for t in tables)]
    if lacking:
        raise UserError(
            f"none of the tables has a column {', '.join(columns[name] for name in lacking)}"
        )
    tables = [_filled(table) for table in tables]
    numbers = {name: np.concatenate([t[name] for t in tables]) for name in NUMBERS}
    words = {name: np.concatenate([t[name] for t in tables]) for name in WORDS}
    numbers["teacher_loss"] = _teacher_losses(numbers, words)
    return _useful(Table(numbers, words, np.arange(len(numbers["N"])), []))


def _files(path: Path) -> list[Path]:
    """The tables that a path stands for."""
    if not path.is_dir():
        return [path]
    ladder = path / "runs.parquet"  # runs.csv beside it is the same
    if ladder.exists():
        return [ladder]
    found = sorted(each for each in path.iterdir() if each.suffix.lower() in _READERS)
    if not found:
        raise UserError(f"{path}: got a folder without a .csv or .parquet file of runs")
    return found


def _read(path: Path, columns: Mapping[str, str]) -> dict[str, np.ndarray]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: got {path.suffix or 'no ending'}, expected .csv or .parquet")
    try:
        table = reader(path)
        names = table.column_names
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    there = {name: columns.get(name, name) for name in (*NUMBERS, *WORDS)}
    missing = [there[name] for name in NEEDED if there[name] not in names]
    if missing:
        raise UserError(
            f"{path}: got no column {', '.join(missing)}; it has {', '.join(names)}. Say which is "
            f"which, as in --column N=params --column D=tokens --column loss=val_loss"
            + ("; its columns must be divided by commas" if len(names) == 1 else "")
        )
    twice = [column for column in there.values() if names.count(column) > 1]
    if twice:
        raise UserError(f"{path}: got {names.count(twice[0])} columns {twice[0]}, expected one")
    known = {n: table.column(c) for n, c in there.items() if c in names}
    found = {n: _numbers(path, n, known[n]) for n in NUMBERS if n in known}
    for name in (name for name in WORDS if name in known):
        said = known[name].to_pylist()
        # An empty cell of a CSV is a text without letters.
        words = [None if each is None else str(each).strip() or None for each in said]
        found[name] = np.array(words, object)
    return found


def _filled(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """With columns of nothing for what a file does not have."""
    rows = len(table["N"])
    nothing = {name: np.full(rows, np.nan) for name in NUMBERS}
    return {**nothing, **{name: np.full(rows, None, object) for name in WORDS}, **table}


def _teacher_losses(numbers: dict[str, np.ndarray], words: dict[str, np.ndarray]) -> np.ndarray:
    """[n], where a run does not say it, the loss of the one run that its teacher's name is of."""
    names, times = np.unique([each for each in words["run"] if each], return_counts=True)
    single = set(names[times == 1])
    losses = {
        run: loss for run, loss in zip(words["run"], numbers["loss"], strict=True) if run in single
    }
    found = np.array([losses.get(each, np.nan) for each in words["teacher"]])
    said = numbers["teacher_loss"]
    return np.where(np.isnan(said), found, said)


def _numbers(path: Path, name: str, column: pa.ChunkedArray) -> np.ndarray:
    try:
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise UserError(f"{path}: column of {name}: expected numbers: {error}") from None


def _useful(table: Table) -> Table:
    """Without runs that say no number above 0, or that did not end well."""
    sound = np.ones(len(table.rows), bool)
    notes = []

    def drop(bad: np.ndarray, why: str) -> None:
        nonlocal sound
        bad = bad & sound
        if bad.any():
            some = ", ".join(str(row) for row in table.rows[bad][:5])
            more = ", ..." if bad.sum() > 5 else ""
            notes.append(f"{bad.sum()} runs left out: {why} (rows {some}{more})")
            sound = sound & ~bad

    for name in NEEDED:
        column = table.numbers[name]
        drop(~(np.isfinite(column) & (column > 0)), f"{name} is no number above 0")
    for name in ("teacher_loss", "weight"):
        column = table.numbers[name]
        drop(
            ~np.isnan(column) & ~(np.isfinite(column) & (column > 0)),
            f"{name} is no number above 0",
        )
    untold = np.isnan(table.numbers["teacher_loss"])
    if not untold.all():  # else it is a table of runs alone, whatever its teachers are
        named = np.array([each is not None for each in table.words["teacher"]], bool)
        drop(named & untold, "they name a teacher and say no teacher_loss")
    statuses = table.words["status"]
    ended = np.array([each is None or each.lower() in _FINISHED for each in statuses], bool)
    drop(~ended, "their status says that they did not finish")
    kept = table.where(sound)
    tokenizers = {each for each in kept.words["tokenizer"] if each is not None}
    if len(tokenizers) > 1:
        raise UserError(
            f"the runs have {len(tokenizers)} tokenizers ({', '.join(sorted(tokenizers))}): losses "
            f"a token cannot be compared between them; fit each by itself"
        )
    return Table(kept.numbers, kept.words, kept.rows, notes)
