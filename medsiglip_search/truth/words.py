"""What the words of a table say of labels."""

from collections.abc import Sequence

import numpy as np

from medsiglip_search.errors import InvalidTruth
from medsiglip_search.labels import Mode
from medsiglip_search.truth.table import OWN_COLUMNS, TruthTable, listed, plain

PRESENT, ABSENT = ("1", "yes", "true", "present", "positive"), ("0", "no", "false", "absent", "negative")
UNCERTAIN = ("-1", "uncertain")
UNKNOWN = np.int8(-1)


def said_of(
    table: TruthTable, labels: Sequence[str] | None, mode: Mode, column: str | None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return L labels and what each row says of them, (rows, L) int8: 1, 0, or -1 where it says nothing.

    labels, mode, column: as `truth.join` takes them. Raises InvalidTruth.
    """
    if column is None and mode == "exclusive" and labels is not None:
        column = _naming_column(table, labels)
    if column is not None:
        return _named(table, labels, table.column(column))
    columns = {plain(name): name for name in table.columns if name not in OWN_COLUMNS}
    if labels is None:
        labels = label_columns(table)
        if not labels:
            raise InvalidTruth(
                f"{table.path}: no column of yes and no (1 and 0); name the one that names labels: --column"
            )
    there = [label for label in labels if plain(label) in columns]
    if not there:
        raise InvalidTruth(
            f"{table.path}: no column for any of the labels {listed(labels)}. Columns: "
            f"{', '.join(columns.values())}"
        )
    said = [_yes_no(table, columns[plain(label)]) for label in there]
    return tuple(there), np.stack(said, axis=1)


def _naming_column(table: TruthTable, labels: Sequence[str]) -> str | None:
    """Return the one column whose cells are all labels; None if the labels have columns of their own."""
    known = set(map(plain, labels))
    if known & set(map(plain, table.columns)):
        return None
    others = [name for name in table.columns if name not in OWN_COLUMNS]
    words = {name: {plain(cell) for cell in table.cells(name) if cell} for name in others}
    naming = [name for name in others if words[name] and words[name] <= known]
    # A single word that is none of the labels is told with its line, when the column is read.
    naming = naming or [name for name in others if words[name] & known]
    if len(naming) == 1:
        return naming[0]
    raise InvalidTruth(
        f"{table.path}: {'several columns hold' if naming else 'no column holds'} nothing but labels "
        f"({listed(labels)}); say which one names the label with --column. Columns: {', '.join(others)}"
    )


def _named(
    table: TruthTable, labels: Sequence[str] | None, column: str
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return what a column says that names one label."""
    if labels is None:
        spelled = {plain(cell): cell for cell in reversed(table.cells(column)) if cell}
        labels = [spelled[word] for word in sorted(spelled)]
    places = {plain(label): place for place, label in enumerate(labels)}
    said = np.full((len(table.rows), len(labels)), UNKNOWN)
    for number, row in enumerate(table.rows):
        cell = row.cells[column]
        if not cell:
            continue
        if plain(cell) not in places:
            raise InvalidTruth(
                f"{table.path}, line {row.line}: {cell!r} in the column {column} is none of the labels "
                f"{listed(labels)}; correct it, or empty the cell"
            )
        said[number] = 0
        said[number, places[plain(cell)]] = 1
    return tuple(labels), said


def _yes_no(table: TruthTable, column: str) -> np.ndarray:
    """Return what a column says, (rows,) int8."""
    said = np.full(len(table.rows), UNKNOWN)
    for number, row in enumerate(table.rows):
        word = _word(row.cells[column])
        if word in PRESENT:
            said[number] = 1
        elif word in ABSENT:
            said[number] = 0
        elif word and word not in UNCERTAIN:
            raise InvalidTruth(
                f"{table.path}, line {row.line}: {row.cells[column]!r} in the column {column} is neither yes "
                "nor no; write 1, 0, or nothing where it is not known"
            )
    return said


def label_columns(table: TruthTable) -> tuple[str, ...]:
    """Return the columns that say of a label whether it is there: most of their words are yes and no.

    What else is in them is a mistake, and told with its line when they are read.
    """
    return tuple(name for name in table.columns if name not in OWN_COLUMNS and _is_yes_no(table, name))


def count_uncertain(table: TruthTable, labels: Sequence[str]) -> int:
    """Return how many cells of these labels' columns say neither yes nor no."""
    columns = [name for name in table.columns if plain(name) in map(plain, labels)]
    return sum(_word(cell) in UNCERTAIN for name in columns for cell in table.cells(name))


def _is_yes_no(table: TruthTable, column: str) -> bool:
    words = [_word(cell) for cell in table.cells(column) if cell]
    return 2 * sum(word in {*PRESENT, *ABSENT, *UNCERTAIN} for word in words) > len(words)


def _word(cell: str) -> str:
    """Return a cell in small letters, and whole numbers without the .0 that pandas gives them."""
    return cell.lower().removesuffix(".0")
