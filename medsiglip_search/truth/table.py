"""A truth table as it is written: one row per file, in CSV or TSV.

It says what the file shows in one of two ways: a column for each label, with 1 and 0 (or yes and no, true
and false, present and absent), or one column that names the label. An empty cell says nothing, and -1
("uncertain" in CheXpert) no more.
"""

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medsiglip_search.errors import InvalidTruth

DELIMITERS = ",;\t"
KEYS = ("path", "instance")
OWN_COLUMNS = (*KEYS, "frame", "patient")
_LISTED = 10


@dataclass(frozen=True, slots=True)
class TruthRow:
    """One row. line: of the file, counted from 1. cells: by column, stripped."""

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TruthTable:
    """A table as it was read.

    columns: as the header names them, but path, instance, frame and patient in small letters.
    digest: the SHA-256 of the file.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[TruthRow, ...]
    digest: str

    def cells(self, column: str) -> list[str]:
        """Return the cells of a column."""
        return [row.cells[column] for row in self.rows]

    def column(self, name: str) -> str:
        """Return the column of this name as the table writes it. Raises InvalidTruth."""
        for column in self.columns:
            if plain(column) == plain(name) and column not in OWN_COLUMNS:
                return column
        raise InvalidTruth(f"{self.path}: no column {name!r}. Columns: {', '.join(self.columns)}")


def read_truth(path: str | Path) -> TruthTable:
    """Read a CSV or TSV table in UTF-8. Raises InvalidTruth, with the line."""
    path = Path(path)
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise InvalidTruth(f"{path}: cannot be read: {(error.strerror or 'unknown error').lower()}") from None
    except UnicodeDecodeError:
        raise InvalidTruth(f"{path}: not UTF-8 text; save the table as CSV in UTF-8") from None
    lines = text.splitlines(keepends=True)
    first = lines[0] if lines else ""
    delimiter = next((d for d in DELIMITERS if set(KEYS) & set(_header(first, d))), None)
    if delimiter is None:
        raise InvalidTruth(
            f"{path}, line 1: no column named path or instance, but {listed(_header(first, ','))}; name the "
            "columns in the first line, with commas, semicolons or tabs between them"
        )
    header = _header(first, delimiter)
    for name in header:
        if not name or sum(plain(name) == plain(other) for other in header) > 1:
            raise InvalidTruth(f"{path}, line 1: a column has no name, or another's; rename it")
    rows: list[TruthRow] = []
    seen: dict[tuple[str, ...], int] = {}
    reader = csv.reader(lines[1:], delimiter=delimiter, strict=True)
    line = 2
    try:
        for cells in reader:
            line, start = 2 + reader.line_num, line
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InvalidTruth(
                    f"{path}, line {start}: {len(cells)} cells for {len(header)} columns; quote commas"
                )
            row = TruthRow(start, dict(zip(header, (cell.strip() for cell in cells), strict=True)))
            key = tuple(row.cells.get(name, "") for name in (*KEYS, "frame"))
            if not any(key[:2]):
                raise InvalidTruth(f"{path}, line {start}: names no file; fill in its path or instance")
            if key in seen:
                raise InvalidTruth(
                    f"{path}, line {start}: a second row for the file of line {seen[key]}; join the two"
                )
            seen[key] = start
            rows.append(row)
    except csv.Error as error:
        raise InvalidTruth(f"{path}, after line {line - 1}: {error}; save the table as CSV again") from None
    if not rows:
        raise InvalidTruth(f"{path}: no row under its header")
    return TruthTable(path, tuple(header), tuple(rows), hashlib.sha256(content).hexdigest())


def listed(names: Sequence[str], most: int = _LISTED) -> str:
    """Return the first of these names in a row, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def plain(name: str) -> str:
    """Return a name as labels and columns are compared."""
    return " ".join(re.sub(r"[\s_-]+", " ", name).split()).casefold()


def _header(line: str, delimiter: str) -> list[str]:
    names = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    return [name.lower() if name.lower() in OWN_COLUMNS else name for name in names]
