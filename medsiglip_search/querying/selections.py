"""Filters to the images that fit them, the recent ones remembered: paging and browsing repeat a filter."""

import threading
from collections import OrderedDict

import numpy as np

from medsiglip_search import filters
from medsiglip_search.gallery import Gallery
from medsiglip_search.queries import Where

REMEMBERED = 8


class Selections:
    """What filters select from one version of a gallery. For any number of threads."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._recent: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def condition(self, where: Where | None) -> str | None:
        """Return a filter in SQL. Raises InvalidQuery."""
        if where is None or isinstance(where, str):
            return where
        return filters.of_values(where, self._gallery.columns(), self._gallery.schema)

    def select(self, condition: str | None) -> np.ndarray | None:
        """Return the image_ids that fit, (N,) int64 ascending; None for all. Raises InvalidQuery."""
        if condition is None:
            return None
        with self._lock:
            found = self._recent.pop(condition, None)
        if found is None:
            found = self._gallery.select(condition)
        with self._lock:
            self._recent[condition] = found
            if len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)
        return found
