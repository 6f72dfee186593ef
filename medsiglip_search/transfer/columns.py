"""Columns of other files and galleries as a gallery's columns: which fit, and their cells converted."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from medsiglip_search.errors import InvalidMetadata
from medsiglip_search.gallery_schema import check_sidecar_name

TEXT, NUMBER = pa.string(), pa.float64()
FLAGS = pa.list_(TEXT)
FLAGS_SEPARATOR = ";"
"""Between flags that are written as one text."""


def require_fit(where: str, added: Mapping[str, pa.DataType], stored: pa.Schema) -> pa.Schema:
    """Return the columns `stored` with those of `added` that are new; asked before anything is stored.

    where: whose sidecar columns `added` are, each NUMBER or TEXT. Numbers go into a column of text, not the
    other way round. Raises InvalidMetadata for a column that does not fit, or whose name cannot be stored.
    """
    names = {name.lower(): name for name in stored.names}
    for name, kind in added.items():
        own = names.setdefault(name.lower(), name)
        if own in added and own != name:
            raise InvalidMetadata(f"{where}: columns {own!r} and {name!r} differ in case alone; rename one")
        if name not in stored.names:
            try:
                check_sidecar_name(name)
            except InvalidMetadata as error:
                raise InvalidMetadata(f"{where}: {error}") from None
        if own != name:
            raise InvalidMetadata(f"{where}: column {name!r}: the gallery has it as {own!r}; rename it")
        if name not in stored.names:
            stored = stored.append(pa.field(name, kind))
        elif kind == TEXT and stored.field(name).type != TEXT:
            raise InvalidMetadata(f"{where}: column {name!r}: text, and the gallery has numbers; rename it")
    return stored


def sidecar_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type in which a gallery holds a sidecar column, or None if it cannot."""
    kind = _cell_type(kind)
    if types.is_boolean(kind) or types.is_decimal(kind) or _is_number(kind):
        return NUMBER
    return TEXT if _is_text(kind) or types.is_temporal(kind) or types.is_null(kind) else None


def fits(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Tell whether cells of a type can become cells of `wanted`, one of a gallery's own columns."""
    kind = _cell_type(kind)
    if types.is_null(kind):
        return True
    if wanted == FLAGS:
        return _is_text(kind) or (is_list(kind) and fits(kind.value_type, TEXT))
    if wanted == pa.binary():
        return _is_bytes(kind)
    return _is_text(kind) if wanted == TEXT else _is_number(kind)


def converted(cells: pa.Array, wanted: pa.DataType) -> pa.Array | None:
    """Return the cells in the type `wanted`, or None if one of them has no like there."""
    try:
        if types.is_dictionary(cells.type):
            cells = cells.dictionary_decode()
        if types.is_floating(cells.type):
            cells = cells.cast(NUMBER)
            cells = pc.if_else(pc.is_finite(cells), cells, pa.scalar(None, NUMBER))
        if wanted == FLAGS and _is_text(cells.type):
            cells = pc.split_pattern(without_empty(cells.cast(TEXT)), FLAGS_SEPARATOR)
        cells = cells.cast(wanted)
        cells.validate(full=True)
    except pa.ArrowException:
        return None
    return cells


def without_empty(cells: pa.Array) -> pa.Array:
    """Return text with None for what is empty."""
    return pc.if_else(pc.equal(cells, ""), pa.scalar(None, cells.type), cells)


def is_list(kind: pa.DataType) -> bool:
    """Tell whether cells of this type are lists."""
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _cell_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the cells, also where a dictionary holds them."""
    return kind.value_type if types.is_dictionary(kind) else kind


def _is_number(kind: pa.DataType) -> bool:
    return types.is_integer(kind) or types.is_floating(kind)


def _is_text(kind: pa.DataType) -> bool:
    # Bytes too: some programs do not say that theirs are UTF-8.
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return is_text or _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
