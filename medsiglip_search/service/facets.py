"""How the images of a gallery spread over the values of columns, for filters that tell what they leave."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medsiglip_search.gallery import Gallery
from medsiglip_search.queries import Where
from medsiglip_search.querying.selections import Selections
from medsiglip_search.records import Value

COLUMNS = ("modality", "body_part", "laterality", "view_position", "year", "manufacturer")
"""Of every gallery; the columns of label decisions come after them."""

MOST_VALUES = 50
"""So many values of a column are told, those of most images."""


@dataclass(frozen=True, slots=True)
class Facet:
    """A column and its values, those of most images first, each with how many of the images have it."""

    column: str
    values: tuple[tuple[Value, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Coded:
    """A column: its values, and for each image, in the order of ids, the place of its own among them."""

    values: tuple[Value, ...]
    codes: np.ndarray


class Facets:
    """Counts the values of the columns of one version of a gallery. For any number of threads."""

    def __init__(self, gallery: Gallery, selections: Selections) -> None:
        self._gallery = gallery
        self._selections = selections
        self._coded: dict[str, _Coded] = {}
        self._lock = threading.Lock()

    def columns(self) -> tuple[str, ...]:
        """Return the columns that are counted."""
        return (*COLUMNS, *self._gallery.label_columns())

    def count(self, where: Where | None, columns: Sequence[str] | None = None) -> list[Facet]:
        """Return these columns, by default all, with the values that images which fit `where` have.

        Raises InvalidQuery.
        """
        allowed = self._selections.select(self._selections.condition(where))
        places = None if allowed is None else np.searchsorted(self._gallery.select(None), allowed)
        return [self._facet(column, places) for column in columns or self.columns()]

    def _facet(self, column: str, places: np.ndarray | None) -> Facet:
        coded = self._column(column)
        codes = coded.codes if places is None else coded.codes[places]
        counts = np.bincount(codes, minlength=len(coded.values))
        order = np.argsort(-counts, kind="stable")[:MOST_VALUES]
        return Facet(column, tuple((coded.values[one], int(counts[one])) for one in order if counts[one]))

    def _column(self, column: str) -> _Coded:
        with self._lock:
            if column not in self._coded:
                known: dict[Value, int] = {}
                codes = [
                    known.setdefault(value, len(known))
                    for (cells,) in self._gallery.cell_batches(column)
                    for value in cells
                ]
                self._coded[column] = _Coded(tuple(known), np.array(codes, np.int32))
            return self._coded[column]
