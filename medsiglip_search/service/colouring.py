"""The colours of a map: the cells of a column as small numbers, and what each number means."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from medsiglip_search.gallery import Gallery
from medsiglip_search.records import Value

MOST_COLOURS = 12
OTHER, NOTHING = 254, 255
"""The codes of what has no colour of its own, and of an image whose cell is empty."""

LAST_STEP = 253
"""The highest code of a ramp; its lowest is 0."""

FEW_NUMBERS = 2
"""Columns of so few different numbers are told apart like words."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the legend. code: of its images; count: how many there are in the gallery."""

    code: int
    label: str
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Colouring:
    """A column of a gallery as colours.

    codes: (N,) uint8 in the order of the image_ids. legend: the codes that there are, those of most images
    first; of a ramp only what is not on it. ramp: the numbers of codes 0 and `LAST_STEP`; None of words.
    values: (N,) the cells themselves.
    """

    column: str
    codes: np.ndarray
    legend: tuple[Entry, ...]
    ramp: tuple[float, float] | None
    values: np.ndarray


def colouring(gallery: Gallery, column: str) -> Colouring:
    """Return a column of a gallery as colours: numbers as a ramp, words as some and "other"."""
    cells = [None if cell != cell else cell for (batch,) in gallery.cell_batches(column) for cell in batch]
    values = np.empty(len(cells), object)
    values[:] = cells
    kind = gallery.schema.field(column).type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if is_number and len({cell for cell in cells if cell is not None}) > FEW_NUMBERS:
        return _ramp(column, cells, values)
    return _words(column, cells, values)


def _ramp(column: str, cells: list[Value], values: np.ndarray) -> Colouring:
    numbers = np.array([np.nan if cell is None else float(cell) for cell in cells])
    is_there = np.isfinite(numbers)
    low, high = float(numbers[is_there].min()), float(numbers[is_there].max())
    codes = np.full(len(numbers), NOTHING, np.uint8)
    codes[is_there] = np.round((numbers[is_there] - low) / ((high - low) or 1.0) * LAST_STEP)
    missing = int((~is_there).sum())
    legend = (Entry(NOTHING, "nothing", missing),) if missing else ()
    return Colouring(column, codes, legend, (low, high), values)


def _words(column: str, cells: list[Value], values: np.ndarray) -> Colouring:
    counts = Counter(cell for cell in cells if cell is not None)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    code_of: dict[Value, int] = {value: place for place, (value, _) in enumerate(ranked[:MOST_COLOURS])}
    code_of[None] = NOTHING
    codes = np.array([code_of.get(cell, OTHER) for cell in cells], np.uint8)
    legend = [Entry(place, str(value), count) for place, (value, count) in enumerate(ranked[:MOST_COLOURS])]
    if rest := ranked[MOST_COLOURS:]:
        legend.append(Entry(OTHER, f"other ({len(rest):,} values)", sum(count for _, count in rest)))
    if missing := len(cells) - sum(counts.values()):
        legend.append(Entry(NOTHING, "nothing", missing))
    return Colouring(column, codes, tuple(legend), None, values)
