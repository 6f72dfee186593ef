"""What a user may write as a filter, checked before the store reads it.

The store's SQL reader takes more than a condition and fails hard on some of it: it leaves out what follows
a complete condition ("year = 2020 LIMIT 5"), takes "modality" in double quotes as a text, and a placeholder
or a chain of some 600 operators ends the process. A filter arrives over the network too, so nothing of that
kind goes through.
"""

import re
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.gallery_schema import STORED_BESIDE

Cell = str | int | float | np.generic | None
"""What a column may be asked to hold; None is nothing."""

LISTS = frozenset({"flags"})
"""Columns of which a cell holds several values."""

MAX_TERMS = 300
"""Names, keywords and operators in one filter; a chain of 600 overflows the store's stack. Lists of values
after IN do not count."""

FUNCTIONS = (
    "abs",
    "array_has",
    "array_length",
    "coalesce",
    "contains",
    "ends_with",
    "length",
    "lower",
    "nullif",
    "regexp_like",
    "round",
    "starts_with",
    "upper",
)
"""That a filter may call; others can take memory without end, such as repeat(report, 1000000000)."""

_KEYWORDS = frozenset({"and", "between", "case", "cast", "else", "in", "is", "not", "or", "then", "when"})
"""After which a parenthesis may be opened."""

_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')
      | (?P<name>`[^`]+`)
      | "(?P<quoted>[^"]*)"
      | (?P<prefixed>[^\W\d]\w*')
      | (?P<number>\d[\w.]*)
      | (?P<word>[^\W\d]\w*)
      | (?P<comment>--|/\*)
      | (?P<grouping>[(),])
      | (?P<operator>::|[-=<>!+*/%|.\[\]])
      | (?P<space>\s+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)

_STAGES = re.compile(
    r"(?:Invalid user input|Error during planning|sql parser error|Arrow error|Not supported): "
)


def checked(where: str, columns: Collection[str], hidden: Collection[str] = ()) -> str:
    """Return `where` as one SQL condition that the store can read safely, in parentheses.

    hidden: columns of the store that are to be taken for unknown; what a condition compares it also tells.
    Column names in double quotes become names as the store quotes them. Raises InvalidQuery for anything
    that cannot be part of a condition; whether the condition makes sense is left to the store.
    """
    parts: list[str] = []
    terms = depth = 0
    called = ""
    for token in _TOKEN.finditer(where):
        part = token.group()
        match token.lastgroup:
            case "quoted":
                name = token["quoted"]
                if name not in columns:
                    raise invalid(f'no column "{name}"; text goes in single quotes', columns)
                part = f"`{name}`"
            case "prefixed":
                raise invalid(f"a space is missing between {part[:-1]} and the text after it", columns)
            case "comment":
                raise invalid("comments cannot stand in a filter", columns)
            case "other":
                raise invalid(f"{part!r} cannot stand in a filter; text goes in single quotes", columns)
            case "word" | "name" if _is_hidden(part.strip("`"), columns, hidden):
                raise invalid(f"no column {part}", columns)
            case "grouping" if part == "(" and called and called not in _KEYWORDS.union(FUNCTIONS):
                raise invalid(f"no function {called}; there are {', '.join(FUNCTIONS)}", columns)
            case "grouping":
                depth += {"(": 1, ")": -1, ",": 0}[part]
                if depth < 0:
                    raise invalid("a parenthesis is closed that is not open", columns)
            case "space":
                part = " "
        if token.lastgroup != "space":
            called = part.lower() if token.lastgroup in ("word", "name") else ""
        terms += token.lastgroup in ("name", "quoted", "word", "operator")
        parts.append(part)
    if depth:
        raise invalid("a parenthesis is not closed", columns)
    condition = "".join(parts).strip()
    if not condition:
        raise invalid("it is empty; leave it out to search everything", columns)
    if terms > MAX_TERMS:
        raise invalid(f"more than {MAX_TERMS} names and operators; use IN for long lists of values", columns)
    if re.search("[\ud800-\udfff]", condition):
        raise invalid("it holds bytes that are not UTF-8 text", columns)
    # In parentheses, because the reader drops whatever follows a complete condition.
    return f"({condition})"


def of_values(
    values: Mapping[str, Cell | Iterable[Cell]], columns: Collection[str], schema: pa.Schema
) -> str:
    """Return the condition that each column holds its value, or one of its values; for `checked`.

    columns: that may be named; schema: their types.
    Of a list column, `flags`, one of the entries is meant. Raises InvalidQuery.
    """
    if not values:
        raise invalid("it names no column; leave it out to search everything", columns)
    return " AND ".join(_holds(name, value, columns, schema) for name, value in values.items())


def _holds(name: str, value: Cell | Iterable[Cell], columns: Collection[str], schema: pa.Schema) -> str:
    if name not in columns:
        raise invalid(f"no column {name}", columns)
    cells = _cells(value)
    kind = schema.field(name).type
    told = [_literal(name, cell, kind, columns) for cell in cells if cell is not None]
    if isinstance(value, set | frozenset):
        told.sort()  # the same set is the same filter in every process
    if name in LISTS:
        conditions = [f'array_has("{name}", {literal})' for literal in told]
    else:
        conditions = [f'"{name}" IN ({", ".join(told)})'] if told else []
    if None in cells:
        conditions.append(f'"{name}" IS NULL')
    return f"({' OR '.join(conditions) or '1 = 0'})"


def _cells(value: Any) -> list[object]:
    """Return the values of which a column is to hold any, as Python's own."""
    # Arrays and numbers of NumPy, columns of pandas.
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return [value]
    return [cell.item() if isinstance(cell, np.generic) else cell for cell in value]


def _literal(name: str, cell: object, kind: pa.DataType, columns: Collection[str]) -> str:
    """Return one value in SQL, as a column of this type has it."""
    if pa.types.is_integer(kind):
        holds = "whole numbers"
        # pandas has whole numbers as floats where some are missing.
        if isinstance(cell, float) and cell.is_integer():
            cell = int(cell)
        if isinstance(cell, int) and not isinstance(cell, bool) and abs(cell) < 2 ** (kind.bit_width - 1):
            return repr(cell)
    elif pa.types.is_floating(kind):
        holds = "numbers"
        # True and False of a table are 1 and 0 there.
        if isinstance(cell, int | float) and abs(cell) <= _LARGEST:
            return repr(float(cell))
    else:
        holds = "text"
        if isinstance(cell, str):
            return "'" + cell.replace("'", "''") + "'"
    told = " ".join(repr(cell).split())[:80]
    raise invalid(f"{name} is to be {told}, and holds {holds}; give these, None, or a list of them", columns)


_LARGEST = sys.float_info.max


def _is_hidden(name: str, columns: Collection[str], hidden: Collection[str]) -> bool:
    """Tell whether the store would know a name that is none of `columns`; it looks at no capitals."""
    name = name.lower()
    if name in (one.lower() for one in hidden):
        return True
    return (name in STORED_BESIDE or name[0] == "_") and name not in columns


def invalid(problem: str, columns: Collection[str]) -> InvalidQuery:
    """Return the error for a filter: what is wrong with it, and what may be filtered by."""
    return InvalidQuery(f"filter: {problem}. Columns: {', '.join(columns)}")


def invalid_in_store(message: str, columns: Collection[str]) -> InvalidQuery:
    """Return the error for a filter that the store has refused.

    message: the store's, which wraps the point in the stages that it came through.
    """
    if unknown := re.search(r"No field named (.+?)\.(?:\s|$)", message):
        return invalid(f"no column {unknown[1]}", columns)
    if "does not return a boolean" in message:
        return invalid("it is not a condition that holds for an image or does not", columns)
    point = _STAGES.split(message)[-1].strip(" .")
    # The parser met the parenthesis that `checked` has put at the end.
    point = point.replace("found: ))", "found: its end")
    return invalid(f"it cannot be read: {point[:160]}", columns)
