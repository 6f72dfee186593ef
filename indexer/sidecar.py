"""The table that lies beside an archive: reports, labels, anything, one row per file."""

import csv
import logging
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from indexer.sources import Entry, Key
from medsiglip_search.errors import InvalidMetadata, Unreadable
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_schema import ATTRIBUTES, check_sidecar_name, images_schema
from medsiglip_search.identifiers import StoredIdentifiers
from medsiglip_search.images.source import open_source
from medsiglip_search.records import Attributes, Instance, Value

log = logging.getLogger(__name__)

DELIMITERS = ",;\t"

# Leading zeros, and more digits than a double holds, are an identifier.
WHOLE_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]{0,14})")
NUMBER = re.compile(WHOLE_NUMBER.pattern + r"(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class SidecarRow:
    """What the table says of one file.

    attributes: those that it fills, as written there; identifiers too.
    columns: everything else, None where the cell is empty; every row has the same keys.
    """

    attributes: Attributes = Attributes()
    columns: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The rows of one table by the uri of their file.

    path: where it was read from, None for no table at all.
    empty: the row of a file that the table does not name.
    """

    path: Path | None
    rows: Mapping[str, SidecarRow]
    empty: SidecarRow

    def row(self, uri: str) -> SidecarRow:
        """Return what the table says of `uri`."""
        return self.rows.get(uri, self.empty)

    def match(self, met: Counter[str]) -> None:
        """Log how many rows belong to no file, or to several. Raises InvalidMetadata if none belongs to any.

        met: in how many archives the file of a row is.
        """
        missing = len(self.rows) - len(met)
        if self.rows and not met:
            raise InvalidMetadata(
                f"{self.path}: none of its {missing} paths is a file of the archive; "
                "write them relative to the archive's folder, parts joined by /"
            )
        if missing:
            log.warning("%s: %d of %d rows name no file of the archive", self.path, missing, len(self.rows))
        if shared := sum(archives > 1 for archives in met.values()):
            log.warning(
                "%s: %d of %d rows name a file in more than one of the archives, and were joined to each of "
                "them; if the table is of one archive, index that one alone with --metadata",
                self.path,
                shared,
                len(self.rows),
            )


NO_SIDECAR = Sidecar(None, {}, SidecarRow())


def read_sidecar(path: str | Path) -> Sidecar:
    """Read a table with a header, a column `path` and one row per file: CSV with , or ; or tabs, in UTF-8.

    A column named like a field of `Attributes`, in capitals or not, fills that attribute. Every other column
    is kept: as numbers if each filled cell is one, else as text. Empty cells are None.
    Raises InvalidMetadata, with the line, for a table that cannot be joined.
    """
    path = Path(path)
    header, lines = _read_lines(path)
    rows: dict[str, Sequence[str]] = {}
    for number, cells in lines:
        if len(cells) != len(header):
            raise InvalidMetadata(
                f"{path}, line {number}: {len(cells)} cells, {len(header)} columns; quote cells with commas"
            )
        uri = cells[header.index("path")]
        if not uri:
            raise InvalidMetadata(f"{path}, line {number}: no path; name the row's file or delete the row")
        uri = posixpath.normpath(uri)
        if uri in rows:
            raise InvalidMetadata(f"{path}, line {number}: a second row for its path; join the two into one")
        rows[uri] = cells
    columns = zip(*rows.values(), strict=True) if rows else [()] * len(header)
    converters = [_converter(path, name, cells) for name, cells in zip(header, columns, strict=True)]

    def parse(cells: Sequence[str]) -> SidecarRow:
        named = zip(header, converters, cells, strict=True)
        values: dict[str, Any] = {name: convert(cell) if cell else None for name, convert, cell in named}
        del values["path"]
        attributes = {name: values.pop(name) for name in ATTRIBUTES if name in values}
        return SidecarRow(Attributes(**attributes), values)

    return Sidecar(path, {uri: parse(cells) for uri, cells in rows.items()}, parse([""] * len(header)))


def joined(instance: Instance, row: SidecarRow, identifiers: StoredIdentifiers) -> Instance:
    """Return an instance as read from its file, with the table's word added and identifiers as stored.

    Where file and table both fill an attribute, the table is right.
    """
    attributes = replace(identifiers.attributes(instance.attributes), **_filled(row, identifiers))
    return replace(instance, attributes=attributes, sidecar=row.columns)


def is_joined(stored: Instance, row: SidecarRow, identifiers: StoredIdentifiers) -> bool:
    """Tell whether a row of the gallery says what the table says."""
    filled = _filled(row, identifiers)
    return all(getattr(stored.attributes, name) == value for name, value in filled.items()) and all(
        # A column that once held text keeps numbers as text.
        stored.sidecar.get(name) in (value, value if value is None else str(value))
        for name, value in row.columns.items()
    )


def rows_of_tables(gallery: Gallery, files: Iterable[Key]) -> int:
    """Return how many of these files have images for which a table filled a column."""
    columns = sidecar_columns(gallery)
    rows = _rows_of(gallery, files) if columns else ()
    filled = (row for row in rows if any(row.sidecar[name] is not None for name in columns))
    return len({(row.archive, row.uri) for row in filled})


def with_decisions(
    gallery: Gallery, files: Iterable[Key], instances: Sequence[Instance]
) -> Sequence[Instance]:
    """Return the instances with the decisions of labels that the gallery holds of the same pixels.

    files: those among theirs that the gallery has rows of. A frame whose pixels changed gets none: what was
    decided was about others.
    """
    columns = gallery.label_columns()
    if not columns:
        return instances
    stored = {(row.archive, row.uri, row.frame): row for row in _rows_of(gallery, files)}

    def decided(instance: Instance) -> Instance:
        row = stored.get((instance.archive, instance.uri, instance.frame))
        if row is None or row.pixel_digest != instance.pixel_digest:
            return instance
        decisions = {name: row.sidecar[name] for name in columns}
        return replace(instance, sidecar={**instance.sidecar, **decisions})

    return [decided(instance) for instance in instances]


def require_no_decisions(sidecar: Sidecar, gallery: Gallery) -> None:
    """Raise InvalidMetadata if a column of the table is one that holds decisions of labels."""
    own = {name.lower() for name in gallery.label_columns()}
    for name in sidecar.empty.columns:
        if name.lower() in own:
            raise InvalidMetadata(
                f"{sidecar.path}: column {name!r}: in this gallery it holds what label --write-back decided; "
                "rename the table's, or leave it out"
            )


def _rows_of(gallery: Gallery, files: Iterable[Key]) -> Iterator[Instance]:
    uris: dict[str, list[str]] = defaultdict(list)
    for archive, uri in files:
        uris[archive].append(uri)
    for archive, names in uris.items():
        ids = gallery.select(f"archive = {_quoted(archive)} AND uri IN ({', '.join(map(_quoted, names))})")
        yield from gallery.instances(ids)


def sidecar_columns(gallery: Gallery) -> tuple[str, ...]:
    """Return the columns that tables have added to a gallery."""
    own = {*images_schema(gallery.meta.dim).names, *gallery.label_columns()}
    return tuple(name for name in gallery.columns() if name not in own)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _filled(row: SidecarRow, identifiers: StoredIdentifiers) -> dict[str, Any]:
    attributes = asdict(identifiers.attributes(row.attributes))
    return {name: value for name, value in attributes.items() if value is not None}


def is_table(entry: Entry) -> bool:
    """Tell whether a file is a table of text that lies beside the pictures, rather than a picture misnamed.

    Only a file named .csv or .tsv is looked into.
    """
    if not entry.uri.lower().endswith((".csv", ".tsv")):
        return False
    try:
        with open_source(entry.file.content()) as file:
            start = file.read(4096)
    except (OSError, Unreadable):
        return False
    return bool(start) and not any(byte < 32 and byte not in b"\t\n\r\f" for byte in start)


def _read_lines(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the other lines with their numbers, cells stripped; blank lines are left out."""
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = next((d for d in DELIMITERS if "path" in _header(first, d)), None)
            if delimiter is None:
                raise InvalidMetadata(f"{path}: no column named path; name the columns in the first line")
            header = _header(first, delimiter)
            lines = []
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                line = 1 + reader.line_num
                if any(cells):
                    lines.append((line, [cell.strip() for cell in cells]))
    except OSError as error:
        why = (error.strerror or "unknown error").lower()
        raise InvalidMetadata(
            f"{path}: cannot be read: {why}; give a table that is there and that you may read"
        ) from None
    except UnicodeDecodeError:
        raise InvalidMetadata(f"{path}: not UTF-8 text; save the table as CSV in UTF-8") from None
    except csv.Error as error:
        raise InvalidMetadata(f"{path}, after line {line}: {error}; save the table as CSV again") from None
    for name in header:
        if not name or sum(name.lower() == other.lower() for other in header) > 1:
            raise InvalidMetadata(f"{path}: a column has no name, or another's; rename it")
        if name != "path" and name not in ATTRIBUTES:
            try:
                check_sidecar_name(name)
            except InvalidMetadata as error:
                raise InvalidMetadata(f"{path}: {error}") from None
    return header, lines


def _header(line: str, delimiter: str) -> list[str]:
    names = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    return [name.lower() if name.lower() in ("path", *ATTRIBUTES) else name for name in names]


def _converter(path: Path, name: str, cells: Sequence[str]) -> Callable[[str], Value]:
    """Return what turns the filled cells of one column into values of one type."""
    filled = [cell for cell in cells if cell]
    if name == "year":
        if not all(re.fullmatch("[0-9]{4}", cell) for cell in filled):
            raise InvalidMetadata(f"{path}: a cell of the column year is no year; write four digits")
        return int
    if name == "position_mm":
        if not all(NUMBER.fullmatch(cell) for cell in filled):
            raise InvalidMetadata(
                f"{path}: a cell of the column position_mm is no number; write millimetres along the normal"
            )
        return float
    if name in ATTRIBUTES or not all(NUMBER.fullmatch(cell) for cell in filled):
        return str
    return int if all(WHOLE_NUMBER.fullmatch(cell) for cell in filled) else float
