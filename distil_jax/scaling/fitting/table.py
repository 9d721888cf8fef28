"""Tables of runs in CSV, TSV or Parquet, anybody's, as columns that the fit knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distil_jax.errors import UserError
from distil_jax.scaling.fitting.cells import is_unfinished, is_unknown, number, word
from distil_jax.scaling.fitting.sheets import READERS, Sheet, read_sheet
from distil_jax.scaling.fitting.teachers import lend_losses

# What a run must say, and what it may say besides.
NEEDED = ("N", "D", "loss")
JUDGED = (*NEEDED, "teacher_loss", "weight")
# What its operations a token are counted from, where all runs say it (language_models.Shape).
NUMBERS = (*JUDGED, "context", "vocabulary", "layers", "width")
WORDS = ("run", "teacher", "tokenizer", "status")
_COUNTS = ("N", "D")
_SHOWN = 5


@dataclass(frozen=True)
class Table:
    """numbers: float64 [n] by name, nan where nothing is said. words: by name, None there.

    unread: by number's name, what a cell says that is no number, None elsewhere. files, rows [n]:
    where each run stands, as `Sheet` counts. notes: what was left out, and why.
    """

    numbers: dict[str, np.ndarray]
    words: dict[str, np.ndarray]
    unread: dict[str, np.ndarray]
    files: np.ndarray
    rows: np.ndarray
    notes: list[str]

    def where(self, chosen: np.ndarray) -> "Table":
        """Those of a mask [n] or of numbers."""
        return Table(
            _chosen(self.numbers, chosen),
            _chosen(self.words, chosen),
            _chosen(self.unread, chosen),
            self.files[chosen],
            self.rows[chosen],
            self.notes,
        )

    def places(self, most: int = _SHOWN) -> str:
        """Where its runs stand, as "a.csv lines 2, 7; b.csv line 3, ..."."""
        by_file: dict[str, list[str]] = {}
        for file, row in zip(self.files[:most], self.rows[:most], strict=True):
            by_file.setdefault(file, []).append(str(row))
        told = "; ".join(_place(file, rows) for file, rows in by_file.items())
        return told + (", ..." if len(self.rows) > most else "")


def read_tables(paths: Sequence[Path], columns: Mapping[str, str]) -> Table:
    """The runs of all files, one after the other, without those that are no use.

    paths: files, or folders of them (of a ladder, its runs.parquet). columns: what the file calls
    a column that goes by another name here, as {"N": "params"}. A teacher that is a `run` of the
    tables need not have its loss said again by those it taught.

    Raises UserError on an unreadable file, a missing column, no rows, several tokenizers.
    """
    unknown = set(columns) - {*NUMBERS, *WORDS}
    if unknown:
        raise UserError(
            f"column {', '.join(sorted(unknown))}: got a name that the fit does not know; expected "
            f"some of {', '.join((*NUMBERS, *WORDS))}, as in --column N=params"
        )
    files = [file for path in paths for file in _files(path)]
    sheets = [read_sheet(file) for file in files]
    for file, sheet in zip(files, sheets, strict=True):
        _check_names(file, sheet, columns)
    lacking = [theirs for theirs in columns.values() if not any(theirs in s.names for s in sheets)]
    if lacking:
        raise UserError(f"none of the tables has a column {', '.join(lacking)}")
    if not any(sheet.rows for sheet in sheets):
        raise UserError(
            f"{', '.join(map(str, files))}: got no rows, expected one of each run below the names "
            f"of the columns"
        )
    pairs = zip(files, sheets, strict=True)
    return _useful(_joined([_read(file, sheet, columns) for file, sheet in pairs]))


def _place(file: str, rows: Sequence[str]) -> str:
    kind = "row" if file.lower().endswith(".parquet") else "line"
    return f"{file} {kind}{'s' if len(rows) > 1 else ''} {', '.join(rows)}"


def _chosen(columns: Mapping[str, np.ndarray], chosen: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[chosen] for name, column in columns.items()}


def _joined(tables: Sequence[Table]) -> Table:
    def joined(columns: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {name: np.concatenate([each[name] for each in columns]) for name in columns[0]}

    return Table(
        joined([each.numbers for each in tables]),
        joined([each.words for each in tables]),
        joined([each.unread for each in tables]),
        np.concatenate([each.files for each in tables]),
        np.concatenate([each.rows for each in tables]),
        [],
    )


def _files(path: Path) -> list[Path]:
    """The tables that a path stands for."""
    if not path.is_dir():
        return [path]
    ladder = path / "runs.parquet"  # runs.csv beside it is the same
    if ladder.exists():
        return [ladder]
    found = sorted(each for each in path.iterdir() if each.suffix.lower() in READERS)
    if not found:
        *others, last = READERS
        raise UserError(
            f"{path}: got a folder without a {', '.join(others)} or {last} file of runs"
        )
    return found


def _check_names(path: Path, sheet: Sheet, columns: Mapping[str, str]) -> None:
    """Raises UserError where a column is missing, or there twice."""
    names = sheet.names
    there = {name: columns.get(name, name) for name in (*NUMBERS, *WORDS)}
    missing = [there[name] for name in NEEDED if there[name] not in names]
    if missing:
        divided = "; its columns must be divided by " + ("tabs" if _is_tabbed(path) else "commas")
        raise UserError(
            f"{path}: got no column {', '.join(missing)}; it has {', '.join(names)}. Say which is "
            f"which, as in --column N=params --column D=tokens --column loss=val_loss"
            + (divided if len(names) == 1 else "")
        )
    twice = [column for column in there.values() if names.count(column) > 1]
    if twice:
        raise UserError(f"{path}: got {names.count(twice[0])} columns {twice[0]}, expected one")


def _is_tabbed(path: Path) -> bool:
    return path.suffix.lower() == ".tsv"


def _read(path: Path, sheet: Sheet, columns: Mapping[str, str]) -> Table:
    """With columns of nothing for what the file does not have."""
    count = len(sheet.rows)
    numbers = {name: np.full(count, np.nan) for name in NUMBERS}
    words = {name: np.full(count, None, object) for name in WORDS}
    unread = {name: np.full(count, None, object) for name in NUMBERS}
    for name in (*NUMBERS, *WORDS):
        theirs = columns.get(name, name)
        if theirs not in sheet.names:
            continue
        cells = sheet.columns[sheet.names.index(theirs)]
        if name in WORDS:
            words[name] = np.array([word(cell) for cell in cells], object)
        else:
            numbers[name], unread[name] = _numbers(name, cells)
    files = np.full(count, str(path), object)
    table = Table(numbers, words, unread, files, np.array(sheet.rows, int), [])
    for name in JUDGED:
        _check_numbers(table, name, columns.get(name, name))
    return table


def _numbers(name: str, cells: Sequence[object]) -> tuple[np.ndarray, np.ndarray]:
    """[n] numbers, and [n] cells that are none."""
    read = [number(cell, commas=name in _COUNTS) for cell in cells]
    pairs = list(zip(cells, read, strict=True))
    numbers = np.array([np.nan if each is None else each for each in read], float)
    return numbers, np.array([str(c) if each is None else None for c, each in pairs], object)


def _check_numbers(table: Table, name: str, theirs: str) -> None:
    """Raises UserError where a column that says something has no number at all."""
    wrong = table.where(_said(table.unread[name]))
    if np.isnan(table.numbers[name]).all() and len(wrong.rows):
        raise UserError(
            f"column of {name}: expected numbers, as 150000000 or 1.5e8; got none in {theirs}, but "
            f"{str(wrong.unread[name][0]).strip()!r} and the like ({wrong.places()})"
        )


def _said(words: np.ndarray) -> np.ndarray:
    """[n]: which of them are not None."""
    return np.array([each is not None for each in words], bool)


def _useful(table: Table) -> Table:
    """Without runs that say no number above 0, or that did not end well."""
    losses, reasons = lend_losses(table.numbers, table.words)
    table = replace(table, numbers={**table.numbers, "teacher_loss": losses})
    sound = np.ones(len(table.rows), bool)
    notes = []

    def drop(bad: np.ndarray, why: str) -> None:
        nonlocal sound
        bad = bad & sound
        if bad.any():
            notes.append(f"{bad.sum()} runs left out: {why} ({table.where(bad).places()})")
            sound = sound & ~bad

    for name in JUDGED:
        cells = table.unread[name]
        drop(_said(cells), f"{name} is no number but {_some(cells)}")
    for name in JUDGED:
        column = table.numbers[name]
        nothing = np.isnan(column) & (name not in NEEDED)
        drop(~nothing & ~(np.isfinite(column) & (column > 0)), f"{name} is no number above 0")
    statuses = table.words["status"]
    unfinished = np.array([is_unfinished(each) for each in statuses], bool)
    drop(unfinished, "their status says that they did not finish")
    for reason in sorted(set(reasons[_said(reasons)])):
        drop(reasons == reason, reason)
    kept = table.where(sound)
    _check_tokenizers(kept)
    return replace(kept, notes=[*notes, *_unknown_statuses(kept)])


def _some(words: np.ndarray) -> str:
    """The first different ones, in quotation marks."""
    different = list(dict.fromkeys(repr(each.strip()) for each in words[_said(words)]))
    return ", ".join(different[:_SHOWN]) + (", ..." if len(different) > _SHOWN else "")


def _unknown_statuses(table: Table) -> list[str]:
    unknown = np.array([is_unknown(each) for each in table.words["status"]], bool)
    if not unknown.any():
        return []
    some = table.where(unknown)
    return [
        f"{unknown.sum()} runs have a status that the fit does not know, "
        f"{_some(some.words['status'])}: they count as finished ({some.places()})"
    ]


def _check_tokenizers(table: Table) -> None:
    """Raises UserError where there are several."""
    tokenizers = {each for each in table.words["tokenizer"] if each is not None}
    if len(tokenizers) > 1:
        raise UserError(
            f"the runs have {len(tokenizers)} tokenizers ({', '.join(sorted(tokenizers))}): losses "
            f"a token cannot be compared between them; fit each by itself"
        )
