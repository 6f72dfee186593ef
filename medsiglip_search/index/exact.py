"""Exact search: every row is compared, on the processor or on a GPU."""

import numpy as np
import torch

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.gallery import Gallery
from medsiglip_search.index.faiss import FaissScan
from medsiglip_search.index.rows import Rows
from medsiglip_search.index.scan import Scan, TorchScan

FEW_ROWS = 1024
"""Rows that are scored exactly at once, on one thread: several would take longer to start."""

FEW_QUERIES = 3
"""Queries up to which reading the rows once for each is faster than multiplying blocks, on the processor."""

QUERIES_AT_ONCE, QUERIES_AT_ONCE_ON_GPU = 64, 1024

SPARE_ROWS, SPARE_ROWS_OF_MANY = 64, 512
"""Rows that are fetched beyond those asked for. The arithmetic for many queries is off by up to 0.006: among
a million scores that spread by 0.02, as those of texts do, the ten best then have some 130 rivals."""

USUAL_RIVALS = 64
"""Of so many beyond those asked for, all queries' rivals are scored together; of more, each query's apart."""

_DECODED_ROWS = 8192


class ExactIndex:
    """Compares a query with every embedding; implements `Index`.

    Every row is scored fast and a little off. Those that could be among the best by as much as the scores can
    be off are then scored again from the stored numbers, so the answer is that of float64 arithmetic.
    """

    kind = "exact"

    def __init__(self, rows: Rows, device: torch.device, base: "ExactIndex | None" = None) -> None:
        """device: where the rows lie; to a GPU they are copied piece by piece, and never moved again.

        base: an index of the same base, whose scans of it are used again.
        """
        self.rows = rows
        self._device = device
        size = len(rows.base)
        self._many: TorchScan = TorchScan(device) if base is None else base._many.up_to(size)
        self._few: FaissScan | None = None
        if device.type == "cpu":
            self._few = FaissScan() if base is None or base._few is None else base._few.up_to(size)
        scans = (self._many,) if self._few is None else (self._many, self._few)
        for scan in scans:
            if base is None:
                scan.add(0, rows.base)
            scan.add(size, rows.tail)

    def search(
        self, queries: np.ndarray, top_k: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and image_ids as `Index` says."""
        scores, places = self.nearest(queries, top_k, self.rows.member(allowed))
        return scores, self.rows.image_ids[places]

    def refreshed(self, gallery: Gallery) -> "ExactIndex":
        """Return the index of another version of the same gallery."""
        rows = self.rows.refreshed(gallery)
        return ExactIndex(rows, self._device, self if rows.saved is self.rows.saved else None)

    def nearest(
        self, queries: np.ndarray, top_k: int, member: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (Q, k) float32 and places (Q, k) int64 of the best rows, equal ones by image_id.

        member: (N,) bool, the places that may be answered; None for all.
        """
        queries = checked(queries)
        count = len(self.rows.image_ids) if member is None else int(member.sum())
        k = min(top_k, count)
        scores = np.empty((len(queries), k), np.float32)
        places = np.empty((len(queries), k), np.int64)
        # A long answer for many queries would hold nearly all scores at once.
        at_once = QUERIES_AT_ONCE if self._device.type == "cpu" else QUERIES_AT_ONCE_ON_GPU
        step = max(1, min(at_once, (1 << 22) // max(k, 1)))
        for start in range(0, len(queries) if k else 0, step):
            page = slice(start, start + step)
            scores[page], places[page] = self._best(queries[page], k, count, member)
        return scores, places

    def best(self, query: np.ndarray, places: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores (k,) float32, from the stored numbers, and places of the best of these rows."""
        exact = np.empty(len(places), np.float32)
        for start in range(0, len(places), _DECODED_ROWS):  # bounds the memory of decoded rows
            block = places[start : start + _DECODED_ROWS]
            rows = self.rows.take(block).astype(np.float64)
            exact[start : start + _DECODED_ROWS] = rows @ query.astype(np.float64)
        return self._ordered(exact, places, k)

    def _best(
        self, queries: np.ndarray, k: int, count: int, member: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what `nearest` does, for queries that are looked at together. count: of members."""
        if count <= FEW_ROWS:
            few = np.arange(count) if member is None else np.flatnonzero(member)
            exact = queries.astype(np.float64) @ self.rows.take(few).astype(np.float64).T
            return self._ordered(exact.astype(np.float32), np.tile(few, (len(queries), 1)), k)
        if self._few and len(queries) <= FEW_QUERIES:
            scan: Scan = self._few
            fetched = min(k + SPARE_ROWS, count)
        else:
            scan = self._many
            fetched = min(k + SPARE_ROWS_OF_MANY, count)
        top, near = scan.near(queries, fetched, member)
        # What seems worse than the k-th by more than both can be off is worse.
        cuts = top[:, k - 1] - 2 * scan.error
        rivals = (top >= cuts[:, None]).sum(axis=1)
        width = min(k + USUAL_RIVALS, int(rivals.max()))
        scores, places = self._ordered(self._rescored(queries, near[:, :width]), near[:, :width], k)
        fine: Scan = self._few or self._many
        # Where all that were fetched are rivals, there may be more.
        has_more = (rivals == fetched) & (fetched < count)
        for number in np.flatnonzero((rivals > width) | has_more).tolist():
            found = near[number, : rivals[number]]
            if has_more[number]:
                found = fine.above(queries[number], float(cuts[number]) - fine.error, member)
            scores[number], places[number] = self.best(queries[number], found, k)
        return scores, places

    def _rescored(self, queries: np.ndarray, near: np.ndarray) -> np.ndarray:
        """Return the scores (Q, n) float32 of the rows at `near`, from the stored numbers."""
        exact = np.empty(near.shape, np.float32)
        score = self._scored if self._device.type == "cpu" else self._scored_on_device
        # Blocks bound the memory of decoded rows.
        width = min(near.shape[1], _DECODED_ROWS)
        height = max(1, _DECODED_ROWS // width)
        for start in range(0, len(near), height):
            for first in range(0, near.shape[1], width):
                block = slice(start, start + height), slice(first, first + width)
                exact[block] = score(queries[block[0]], near[block])
        return exact

    def _scored(self, queries: np.ndarray, places: np.ndarray) -> np.ndarray:
        rows = self.rows.take(places.ravel()).astype(np.float64).reshape(*places.shape, -1)
        return (rows @ queries.astype(np.float64)[:, :, None])[:, :, 0]

    def _scored_on_device(self, queries: np.ndarray, places: np.ndarray) -> np.ndarray:
        rows = self._many.take(places.ravel()).double().reshape(*places.shape, -1)
        asked = torch.from_numpy(queries).to(self._device).double()
        return (rows @ asked[:, :, None])[:, :, 0].cpu().numpy()

    def _ordered(self, exact: np.ndarray, places: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best scores and their places, along the last axis; equal scores by image_id."""
        order = np.lexsort((self.rows.image_ids[places], -exact), axis=-1)[..., :k]
        return np.take_along_axis(exact, order, -1), np.take_along_axis(places, order, -1)


def checked(queries: np.ndarray) -> np.ndarray:
    """Return queries as they can be searched for. Raises InvalidQuery if one is not finite."""
    queries = np.ascontiguousarray(queries, np.float32)
    if not np.isfinite(queries).all():
        raise InvalidQuery("the embedding of the query is not finite; the encoder failed on it")
    return queries
