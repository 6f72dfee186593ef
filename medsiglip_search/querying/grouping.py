"""Which images of a gallery belong together: by patient, study, series, or equal pixels."""

from functools import cached_property

import numpy as np
import pyarrow as pa

from medsiglip_search.gallery import Gallery


class Groups:
    """The images of one version of a gallery in groups that do not overlap.

    An image without the identifier is a group of its own: nothing is known to belong to it.
    """

    def __init__(self, image_ids: np.ndarray, codes: np.ndarray) -> None:
        """image_ids: (N,) int64 ascending. codes: (N,) int64, what group each is in, counted from 0."""
        self._image_ids = image_ids
        self._codes = codes

    @classmethod
    def read(cls, gallery: Gallery, column: str) -> "Groups":
        """Group by equal cells of a text column. A million rows take about a tenth of a second, and 8 MB."""
        cells = [pa.array([], pa.string()), *(batch[column] for batch in gallery.row_batches([column]))]
        encoded = pa.chunked_array(cells).dictionary_encode().combine_chunks()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        # Rows from elsewhere have empty text where nothing is known.
        empty = encoded.dictionary.index("").as_py()
        alone = np.flatnonzero((codes < 0) | ((codes == empty) if empty >= 0 else False))
        codes[alone] = len(encoded.dictionary) + np.arange(len(alone))
        return cls(gallery.select(None), codes)

    def of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return what group each of these images of the gallery is in, in their shape."""
        return self._codes[np.searchsorted(self._image_ids, image_ids)]

    def members(self, code: int) -> np.ndarray:
        """Return the image_ids of a group, ascending."""
        start, end = np.searchsorted(self._sorted, (code, code + 1))
        return self._image_ids[self._order[start:end]]

    def count(self, image_ids: np.ndarray | None, excluded: np.ndarray) -> int:
        """Return how many groups these images are in, without those that are excluded as a whole.

        image_ids: of the gallery, all of it if None. excluded: of the gallery, ascending.
        """
        sizes = self._sizes if image_ids is None else self._counted(image_ids)
        if len(excluded):
            sizes = sizes - self._counted(excluded[among(excluded, image_ids)])
        return int((sizes > 0).sum())

    def _counted(self, image_ids: np.ndarray) -> np.ndarray:
        return np.bincount(self.of(image_ids), minlength=len(self._sizes))

    def is_shared(self, image_ids: np.ndarray) -> np.ndarray:
        """Return which of these images are not alone in their group, bool in their shape."""
        return self._sizes[self.of(image_ids)] > 1

    def together(self, image_ids: np.ndarray) -> np.ndarray:
        """Return the image_ids of all groups that these images are in, ascending."""
        is_in = np.zeros(len(self._sizes), bool)
        is_in[self.of(image_ids)] = True
        return self._image_ids[is_in[self._codes]]

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self._codes, kind="stable")

    @cached_property
    def _sizes(self) -> np.ndarray:
        return np.bincount(self._codes)

    @cached_property
    def _sorted(self) -> np.ndarray:
        return self._codes[self._order]


def among(image_ids: np.ndarray, ascending: np.ndarray | None) -> np.ndarray:
    """Return which of `image_ids` are in `ascending`, bool in their shape; None has them all."""
    if ascending is None:
        return np.ones(image_ids.shape, bool)
    if not len(ascending):
        return np.zeros(image_ids.shape, bool)
    places = np.searchsorted(ascending, image_ids)
    return ascending[np.minimum(places, len(ascending) - 1)] == image_ids


def firsts(codes: np.ndarray) -> np.ndarray:
    """Return the places at which each of `codes` comes first, ascending."""
    return np.sort(np.unique(codes, return_index=True)[1])
