"""The user's table of teachers that exist, for `plan --law --teachers`."""

import math
from pathlib import Path

from distil_jax.errors import UserError
from distil_jax.scaling.fitting.cells import number, word
from distil_jax.scaling.fitting.sheets import Sheet, read_sheet
from distil_jax.scaling.questions import Teacher

_COLUMNS = ("name", "N", "loss")
_EXPECTED = "expected the columns name, N (parameters) and loss (nats a token)"


def read_teachers(path: Path) -> list[Teacher]:
    """Of columns name, N and loss, in .csv, .tsv or .parquet. Raises UserError for all else."""
    sheet = read_sheet(path)
    _check_names(path, sheet)
    if not sheet.rows:
        raise UserError(
            f"{path}: got no rows, expected one of each teacher below the names of the columns"
        )
    cells = zip(*(sheet.columns[sheet.names.index(name)] for name in _COLUMNS), strict=True)
    kind = "row" if path.suffix.lower() == ".parquet" else "line"
    return [
        _teacher(f"{path} {kind} {place}", *row)
        for place, row in zip(sheet.rows, cells, strict=True)
    ]


def _check_names(path: Path, sheet: Sheet) -> None:
    missing = [name for name in _COLUMNS if name not in sheet.names]
    if missing:
        mark = "tabs" if path.suffix.lower() == ".tsv" else "commas"
        divided = f"; columns must be divided by {mark}" if len(sheet.names) == 1 else ""
        raise UserError(
            f"{path}: got no column {', '.join(missing)}; it has {', '.join(sheet.names)}; "
            f"{_EXPECTED}{divided}"
        )
    twice = [name for name in _COLUMNS if sheet.names.count(name) > 1]
    if twice:
        raise UserError(
            f"{path}: got {sheet.names.count(twice[0])} columns {twice[0]}, expected one"
        )


def _teacher(place: str, name: object, size: object, loss: object) -> Teacher:
    known = word(name)
    if known is None:
        raise UserError(f"{place}: got no name, expected what the teacher is called")
    return Teacher(
        known,
        _above_0(place, "N", size, commas=True),
        _above_0(place, "loss", loss, commas=False),
    )


def _above_0(place: str, column: str, cell: object, *, commas: bool) -> float:
    found = number(cell, commas)
    if found is None or not 0 < found < math.inf:
        got = "nothing" if word(cell) is None else repr(str(cell).strip())
        raise UserError(
            f"{place}: {column}: got {got}, expected a number above 0, as "
            f"{'150000000 or 1.5e8' if commas else '2.5'}"
        )
    return found
