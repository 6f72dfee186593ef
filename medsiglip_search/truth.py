"""What is known of the images of a gallery: a table, joined to them by path or SOP instance UID.

A table has one row per file and says what the file shows in one of two ways: a column for each label, with 1
and 0 (or yes and no, true and false, present and absent), or one column that names the label. An empty cell
says nothing, and -1 ("uncertain" in CheXpert) no more.
"""

import csv
import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medsiglip_search.errors import InvalidTruth
from medsiglip_search.gallery import Gallery
from medsiglip_search.identifiers import identifiers_for
from medsiglip_search.labels import Mode
from medsiglip_search.records import Attributes

DELIMITERS = ",;\t"
KEYS = ("path", "instance")
OWN_COLUMNS = (*KEYS, "frame", "patient")
PRESENT, ABSENT = ("1", "yes", "true", "present", "positive"), ("0", "no", "false", "absent", "negative")
UNCERTAIN = ("-1", "uncertain")
UNKNOWN = np.int8(-1)
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

    def label_columns(self) -> tuple[str, ...]:
        """Return the columns that say of a label whether it is there: nothing but words for yes and no."""
        return tuple(
            name
            for name in self.columns
            if name not in OWN_COLUMNS and {row.cells[name].lower() for row in self.rows} - {""} and _is_yes_no(self, name)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What a table says of images of one gallery.

    image_ids: (N,) int64 ascending. labels: L names. present: (N, L) int8, 1 and 0, -1 where nothing is said.
    patients: (N,) int64, equal for images of one patient; an image of an unknown one is by itself.
    unknown: the rows, by path or instance, that name no image of the gallery.
    notes: what a reader of figures should know: what was left out, and where the patients come from.
    """

    path: Path
    digest: str
    image_ids: np.ndarray
    labels: tuple[str, ...]
    present: np.ndarray
    patients: np.ndarray
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, labels: Sequence[str]) -> np.ndarray:
        """Return `present` with these labels as columns. Raises InvalidTruth for one that it does not have."""
        for label in labels:
            if label not in self.labels:
                raise InvalidTruth(f"{self.path}: no column for {label!r}. Labels in it: {', '.join(self.labels)}")
        return self.present[:, [self.labels.index(label) for label in labels]]

    def only(self, rows: np.ndarray) -> "Truth":
        """Return it for some of its images, (N,) bool or int64 places."""
        return Truth(
            self.path,
            self.digest,
            self.image_ids[rows],
            self.labels,
            self.present[rows],
            self.patients[rows],
            self.unknown,
            self.notes,
        )


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
        raise InvalidTruth(f"{path}, line 1: no column named path or instance; name the columns in the first line")
    header = _header(first, delimiter)
    for name in header:
        if not name or sum(_plain(name) == _plain(other) for other in header) > 1:
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
                    f"{path}, line {start}: {len(cells)} cells, {len(header)} columns; quote cells with commas"
                )
            row = TruthRow(start, dict(zip(header, (cell.strip() for cell in cells), strict=True)))
            key = tuple(row.cells.get(name, "") for name in (*KEYS, "frame"))
            if not any(key[:2]):
                raise InvalidTruth(f"{path}, line {start}: no {' or '.join(k for k in KEYS if k in header)}; name the row's file")
            if key in seen:
                raise InvalidTruth(f"{path}, line {start}: a second row for the file of line {seen[key]}; join the two")
            seen[key] = start
            rows.append(row)
    except csv.Error as error:
        raise InvalidTruth(f"{path}, after line {line - 1}: {error}; save the table as CSV again") from None
    if not rows:
        raise InvalidTruth(f"{path}: no row under its header")
    return TruthTable(path, tuple(header), tuple(rows), hashlib.sha256(content).hexdigest())


def join(
    table: TruthTable,
    gallery: Gallery,
    labels: Sequence[str] | None,
    mode: Mode = "findings",
    *,
    column: str | None = None,
    patient: str | None = None,
    where: str | None = None,
) -> Truth:
    """Return what a table says of a gallery's images about these labels; of all that it names if None.

    Labels and columns are matched without regard to capitals, spaces, hyphens and underscores.
    column: that names the label; by default the column of each label says whether it is there, or of
    exclusive labels the one column whose words are labels.
    patient: a regular expression; what of a path it matches, or its first group, names the patient. By default
    the table's column patient does, else what the gallery knows.
    where: of images that fit this condition only.
    A row's path is the image's uri; if none is, as many leading folders of all paths are left out as make the
    most of them fit. A row stands for all frames of its file, unless it has a cell `frame`.
    Raises InvalidTruth if no row names an image, for words that are no yes and no, with the line, and for
    tables without these labels; InvalidQuery.
    """
    matched, unknown, notes = _match(table, gallery, where)
    names, said, more = _labels(table, labels, mode, column)
    rows = np.array([row for _, row in matched], np.int64)
    truth = Truth(
        table.path,
        table.digest,
        np.array([image_id for image_id, _ in matched], np.int64),
        names,
        said[rows],
        *_patients(table, gallery, matched, patient, notes),
        unknown=unknown,
        notes=(*notes, *more),
    )
    return truth
