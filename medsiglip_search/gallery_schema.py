"""The columns of a gallery's two tables, and the way between rows and records."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from medsiglip_search.errors import InvalidMetadata, Reason
from medsiglip_search.records import Attributes, Instance, Rejected, Value


@dataclass(frozen=True, slots=True)
class RejectedFile(Rejected):
    """A rejection and the state of the file behind it, so that an unchanged file is not tried again."""

    archive: str
    size: int
    mtime_ns: int
    source_digest: str


UNIT_NORM_TOLERANCE = 1e-3
"""How far the norm of an embedding that is stored may be from 1."""

ATTRIBUTES = tuple(field.name for field in fields(Attributes))
_NUMBERS = {"year": pa.int32(), "position_mm": pa.float64()}

_IMAGE_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("image_id", pa.int64()),
    ("archive", pa.string()),
    ("uri", pa.string()),
    ("frame", pa.int32()),
    ("source_digest", pa.string()),
    ("pixel_digest", pa.string()),
    ("size", pa.int64()),
    ("mtime_ns", pa.int64()),
    ("rows", pa.int32()),
    ("columns", pa.int32()),
    *((name, _NUMBERS.get(name, pa.string())) for name in ATTRIBUTES),
    ("flags", pa.list_(pa.string())),
    ("thumbnail", pa.binary()),
)
STORED_BESIDE = ("embedding", "thumbnail", "indexed_at")
"""Columns of the images table that an `Instance` does not carry."""

LABEL_COLUMNS = "label_columns"
"""Under which a note beside the images tells which columns hold decisions, for `label_columns_of`."""


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """What a column of decisions is about.

    label_set: its name, and digest that of its labels and prompts. label: None where the column holds the one
    of exclusive labels that was chosen. calibration: the digest of the one that decided, None without.
    """

    label_set: str
    digest: str
    label: str | None
    calibration: str | None = None


REJECTED_SCHEMA = pa.schema(
    [
        ("archive", pa.string()),
        ("uri", pa.string()),
        ("frame", pa.int32()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("source_digest", pa.string()),
        ("rejected_at", pa.timestamp("us", "UTC")),
    ]
)


def images_schema(dim: int) -> pa.Schema:
    """Return the columns of a new images table for embeddings of `dim` numbers."""
    return pa.schema(
        [
            *_IMAGE_FIELDS,
            ("embedding", pa.list_(pa.float16(), dim)),
            ("indexed_at", pa.timestamp("us", "UTC")),
        ]
    )


_OWN_COLUMNS = frozenset(images_schema(1).names)
# A hit is printed with these beside its instance's columns.
_HIT_COLUMNS = frozenset({"rank", "score", "relevance", "count", "query", "query_text"})
OWN_COLUMNS = _OWN_COLUMNS | _HIT_COLUMNS
"""Names that no table and no label set can give a column."""

_EXACT = 2**53


def instance_columns(names: Iterable[str]) -> list[str]:
    """Return those of the table's columns that make an `Instance`, and that a filter may name."""
    return [name for name in names if name not in STORED_BESIDE]


def images_table(
    instances: Sequence[Instance],
    thumbnails: Sequence[bytes],
    embeddings: np.ndarray,
    first_id: int,
    schema: pa.Schema,
) -> pa.Table:
    """Return the rows for `instances`, numbered from `first_id` on.

    embeddings: (N, D) float32; stored as float16.
    """
    dim = schema.field("embedding").type.list_size
    stored: dict[str, Any] = {
        "image_id": range(first_id, first_id + len(instances)),
        "thumbnail": thumbnails,
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embeddings.astype(np.float16).ravel()), dim),
        "indexed_at": [datetime.now(UTC)] * len(instances),
    }
    for name in ATTRIBUTES:
        stored[name] = [getattr(instance.attributes, name) for instance in instances]
    for name in schema.names:
        if name not in _OWN_COLUMNS:
            kind = schema.field(name).type
            stored[name] = [_cell(name, instance.sidecar.get(name), kind) for instance in instances]
        elif name not in stored:
            stored[name] = [getattr(instance, name) for instance in instances]
    return pa.table({name: stored[name] for name in schema.names}, schema=schema)


def lacks(schema: pa.Schema, needed: pa.Schema) -> bool:
    """Tell whether `schema` is without one of the columns `needed`, or has it in another type."""
    return any(
        field.name not in schema.names or schema.field(field.name).type != field.type for field in needed
    )


def rejected_table(rejected: Sequence[RejectedFile]) -> pa.Table:
    """Return the rows for `rejected`."""
    now = datetime.now(UTC)
    rows = [{**asdict(one), "reason": one.reason.value, "rejected_at": now} for one in rejected]
    return pa.Table.from_pylist(rows, schema=REJECTED_SCHEMA)


def instances_of(table: pa.Table) -> list[Instance]:
    """Return the rows of an images table, read with `instance_columns`, as records."""
    return [_instance(row) for row in table.to_pylist()]


def rejected_of(table: pa.Table) -> list[RejectedFile]:
    """Return the rows of a rejected table as records."""
    return [
        RejectedFile(**{**row, "reason": Reason(row["reason"])})
        for row in table.drop_columns(["rejected_at"]).to_pylist()
    ]


def check_sidecar_name(name: str) -> None:
    """Raise InvalidMetadata if a sidecar column cannot be stored under `name`.

    Names that begin with "_" are the store's own: one such column makes its table unreadable. A dot means a
    part of a column there, and quotes could not be written in a filter.
    """
    if name.lower() in OWN_COLUMNS:
        raise InvalidMetadata(f"column {name!r}: every gallery has one of its own; rename the table's")
    if not name or name != name.strip() or name[0] == "_" or not name.isprintable() or set(name) & set('."`'):
        raise InvalidMetadata(
            f"column {name!r}: a name must not be empty, begin with _ or a space, or hold a dot or quotes; "
            "rename it"
        )


def label_columns_of(note: str | None) -> dict[str, LabelColumn]:
    """Return the columns that a note tells of, by their names."""
    return {name: LabelColumn(**column) for name, column in json.loads(note or "{}").items()}


def label_columns_note(columns: Mapping[str, LabelColumn]) -> str:
    """Return what `label_columns_of` reads."""
    return json.dumps({name: asdict(column) for name, column in columns.items()}, sort_keys=True)


def missing_label_columns(
    columns: Mapping[str, LabelColumn], made: Mapping[str, LabelColumn], schema: pa.Schema
) -> list[pa.Field]:
    """Return those of the columns for decisions that `schema` lacks.

    made: those that hold decisions already. Raises InvalidMetadata for a name that cannot be stored, or that
    a column has which something else made, or another label set.
    """
    stored = {name.lower(): name for name in schema.names}
    missing = []
    for name, column in columns.items():
        check_sidecar_name(name)
        if name not in schema.names:
            if name.lower() in stored:
                raise InvalidMetadata(f"column {name!r}: a table gave the gallery {stored[name.lower()]!r}")
            missing.append(pa.field(name, pa.string()))
        elif name not in made:
            raise InvalidMetadata(f"column {name!r}: a table gave the gallery one of that name")
        elif (made[name].label_set, made[name].label) != (column.label_set, column.label):
            about = f" about {made[name].label!r}" if made[name].label else ""
            raise InvalidMetadata(
                f"column {name!r}: holds what the label set {made[name].label_set!r} decided{about}"
            )
    return missing


def new_columns(instances: Sequence[Instance], schema: pa.Schema) -> list[pa.Field]:
    """Return the columns that the sidecars of `instances` add to `schema`: numbers or text.

    A column without any value is left for the batch that has one. Raises InvalidMetadata for names that
    cannot be stored.
    """
    values: dict[str, list[Value]] = {}
    for instance in instances:
        for name, value in instance.sidecar.items():
            if name not in schema.names or name in _OWN_COLUMNS:
                values.setdefault(name, []).append(value)
    stored = {name.lower(): name for name in schema.names}
    added = []
    for name, cells in values.items():
        check_sidecar_name(name)
        if name.lower() in stored:
            raise InvalidMetadata(
                f"column {name!r}: the gallery has it as {stored[name.lower()]!r}; write it the same way"
            )
        stored[name.lower()] = name
        given = [cell for cell in cells if cell is not None]
        if given:
            added.append(pa.field(name, pa.float64() if all(map(_is_number, given)) else pa.string()))
    return added


def _instance(row: Mapping[str, Any]) -> Instance:
    own = {name: cell for name, cell in row.items() if name in _OWN_COLUMNS and name not in ATTRIBUTES}
    own["attributes"] = Attributes(**{name: row[name] for name in ATTRIBUTES})
    own["flags"] = tuple(row["flags"] or ())
    own["sidecar"] = {name: _value(cell) for name, cell in row.items() if name not in _OWN_COLUMNS}
    return Instance(**own)


def _is_number(value: Value) -> bool:
    """Tell whether a double holds `value` exactly."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= _EXACT)


def _cell(name: str, value: Value, kind: pa.DataType) -> Value:
    """Return `value` as the column `name` holds it."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if kind == pa.string():
        return str(value)
    if not _is_number(value):
        raise InvalidMetadata(f"column {name!r}: numbers in this gallery, text in the table; rename it")
    return float(value)


def _value(cell: Value) -> Value:
    """Return a stored sidecar cell: text as it is, whole numbers that a double holds exactly as int."""
    return int(cell) if isinstance(cell, float) and cell.is_integer() and abs(cell) <= _EXACT else cell
