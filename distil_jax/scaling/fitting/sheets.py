"""Files of runs, CSV, TSV or Parquet, as columns of cells."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from distil_jax.errors import UserError


@dataclass(frozen=True)
class Sheet:
    """names: of the columns, without spaces around them. columns: of each, its cells.

    rows: which row of the file each is: of Parquet from 1, of a text its line, 1 being the names'.
    """

    names: list[str]
    columns: list[list]
    rows: list[int]


def read_sheet(path: Path) -> Sheet:
    """Raises UserError where the file cannot be read, or its rows are of different lengths."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: got {path.suffix or 'no ending'}, expected {', '.join(READERS)}")
    try:
        return reader(path)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _parquet(path: Path) -> Sheet:
    table = pyarrow.parquet.read_table(path)
    names = [name.strip() for name in table.column_names]
    columns = [column.to_pylist() for column in table.columns]
    return Sheet(names, columns, list(range(1, table.num_rows + 1)))


def _comma(path: Path) -> Sheet:
    return _text(path, ",")


def _tab(path: Path) -> Sheet:
    return _text(path, "\t")


def _text(path: Path, delimiter: str) -> Sheet:
    with open(path, encoding="utf-8-sig", newline="") as file:
        # Without skipinitialspace a quotation mark after a space does not quote.
        reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
        try:
            lines = list(_lines(reader))
        except csv.Error as error:
            raise UserError(f"{path} cannot be read: line {reader.line_num}: {error}") from None
    if not lines:
        raise UserError(f"{path} cannot be read: got an empty file, expected names of columns")
    (_, names), *rest = lines
    for line, cells in rest:
        if len(cells) != len(names):
            raise UserError(
                f"{path} cannot be read: line {line} has {len(cells)} cells, expected "
                f"{len(names)}, as many as there are columns; a cell with a comma must stand in "
                f'quotation marks, as "1,000"'
            )
    columns = [[cells[number] for _, cells in rest] for number in range(len(names))]
    return Sheet([name.strip() for name in names], columns, [line for line, _ in rest])


def _lines(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not empty, and the line where it begins."""
    begin = 1
    for cells in reader:
        if cells:
            yield begin, cells
        begin = reader.line_num + 1


READERS: dict[str, Callable[[Path], Sheet]] = {".csv": _comma, ".tsv": _tab, ".parquet": _parquet}
