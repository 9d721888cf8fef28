"""Tables of runs in CSV, TSV or Parquet, anybody's, read as columns that the fit knows."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from distil_jax.errors import UserError
from distil_jax.scaling.fitting.cells import number, word
from distil_jax.scaling.fitting.sheets import READERS, Sheet, read_sheet
from distil_jax.scaling.fitting.table import MODELS, NEEDED, OPTIONAL, WORDS, Table, said
from distil_jax.scaling.fitting.useful import useful

_COUNTS = ("N", "D")
_SHOWN = 8


def read_tables(
    paths: Sequence[Path], columns: Mapping[str, str], inputs: Sequence[str] = ()
) -> Table:
    """The runs of all files, one after the other, without those that are no use.

    paths: files, or folders of them (of a ladder, its runs.parquet). columns: what the file calls
    a column that goes by another name here, as {"N": "params"}. inputs: columns that a law needs
    besides N, D and the loss. A teacher that is a `run` of the tables need not have its loss said
    again by those it taught.

    Raises UserError on an unreadable file, a missing column, no rows, several tokenizers.
    """
    needed = tuple(dict.fromkeys((*NEEDED, *inputs)))
    known = *_numbers_with(needed), *WORDS
    unknown = set(columns) - set(known)
    if unknown:
        raise UserError(
            f"column {', '.join(sorted(unknown))}: got a name that the fit does not know; expected "
            f"some of {', '.join(known)}, as in --column N=params"
        )
    files = [file for path in paths for file in _files(path)]
    sheets = [read_sheet(file) for file in files]
    for file, sheet in zip(files, sheets, strict=True):
        _check_names(file, sheet, columns, needed)
    lacking = [theirs for theirs in columns.values() if not any(theirs in s.names for s in sheets)]
    if lacking:
        raise UserError(f"none of the tables has a column {', '.join(lacking)}")
    if not any(sheet.rows for sheet in sheets):
        raise UserError(
            f"{', '.join(map(str, files))}: got no rows, expected one of each run below the names "
            f"of the columns"
        )
    pairs = zip(files, sheets, strict=True)
    table = useful(_joined([_read(file, sheet, columns, needed) for file, sheet in pairs]))
    unread = _unread(sheets, {columns.get(name, name) for name in known})
    return replace(table, notes=[*table.notes, *unread])


def _unread(sheets: Sequence[Sheet], known: Collection[str]) -> list[str]:
    """A teacher's name in one of these would go unnoticed."""
    others = [sheet for sheet in sheets if "schema_version" not in sheet.names]  # a ladder has it
    names = [name for sheet in others for name in sheet.names if name not in known]
    names = list(dict.fromkeys(names))
    if not names:
        return []
    more = ", ..." if len(names) > _SHOWN else ""
    return [
        f"columns that were not looked at: {', '.join(names[:_SHOWN])}{more}; --column says what "
        f"one of them is"
    ]


def _numbers_with(needed: tuple[str, ...]) -> tuple[str, ...]:
    """Names of all columns of numbers."""
    return tuple(dict.fromkeys((*needed, *OPTIONAL, *MODELS)))


def _joined(tables: Sequence[Table]) -> Table:
    def joined(columns: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {name: np.concatenate([each[name] for each in columns]) for name in columns[0]}

    return Table(
        joined([each.numbers for each in tables]),
        joined([each.words for each in tables]),
        joined([each.unread for each in tables]),
        np.concatenate([each.files for each in tables]),
        np.concatenate([each.rows for each in tables]),
        tables[0].needed,
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


def _check_names(
    path: Path, sheet: Sheet, columns: Mapping[str, str], needed: tuple[str, ...]
) -> None:
    """Raises UserError where a column is missing, or there twice."""
    names = sheet.names
    there = {name: columns.get(name, name) for name in (*_numbers_with(needed), *WORDS)}
    missing = [there[name] for name in needed if there[name] not in names]
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


def _read(path: Path, sheet: Sheet, columns: Mapping[str, str], needed: tuple[str, ...]) -> Table:
    """With columns of nothing for what the file does not have."""
    count = len(sheet.rows)
    numbers = {name: np.full(count, np.nan) for name in _numbers_with(needed)}
    words = {name: np.full(count, None, object) for name in WORDS}
    unread = {name: np.full(count, None, object) for name in numbers}
    for name in (*numbers, *WORDS):
        theirs = columns.get(name, name)
        if theirs not in sheet.names:
            continue
        cells = sheet.columns[sheet.names.index(theirs)]
        if name in WORDS:
            words[name] = np.array([word(cell) for cell in cells], object)
        else:
            numbers[name], unread[name] = _numbers(name, cells)
    files = np.full(count, str(path), object)
    table = Table(numbers, words, unread, files, np.array(sheet.rows, int), needed, [])
    for name in table.judged:
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
    wrong = table.where(said(table.unread[name]))
    if np.isnan(table.numbers[name]).all() and len(wrong.rows):
        raise UserError(
            f"column of {name}: expected numbers, as 150000000 or 1.5e8; got none in {theirs}, but "
            f"{str(wrong.unread[name][0]).strip()!r} and the like ({wrong.places()})"
        )
