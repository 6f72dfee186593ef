"""Exact search: every row is compared, on the processor or on a GPU."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.gallery import Gallery
from medsiglip_search.index.rows import Rows
from medsiglip_search.index.scan import scores_for

CHUNK_ROWS = 1 << 20
"""Rows whose scores are looked at together. Threads meet after each chunk, and wait for the slowest."""

FEW_ROWS = 1024
"""Rows that are scored exactly at once, on one thread: several would take longer to start."""

QUERIES_AT_ONCE = 64
SPARE_ROWS = 64
GATHER_BELOW = 1 / 16
"""The share of allowed rows below which they are gathered instead of comparing their neighbours with them."""

_DECODED_ROWS = 4096


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows on the device. places: of each row, (n,) int64. allowed: (n,) bool, None for all."""

    rows: torch.Tensor
    places: np.ndarray
    allowed: torch.Tensor | None


class ExactIndex:
    """Compares a query with every embedding; implements `Index`.

    Every row is scored fast and a little off. Those that could be among the best by as much as the scores can
    be off are then scored again from the stored numbers, so the answer is that of float64 arithmetic.
    """

    kind = "exact"

    def __init__(self, rows: Rows, device: torch.device) -> None:
        """device: where the rows lie; to a GPU they are copied piece by piece, and never moved again."""
        self.rows = rows
        self._device = device
        self._blocks = list(_blocks(rows, device))

    def search(
        self, queries: np.ndarray, top_k: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and image_ids as `Index` says."""
        scores, places = self.nearest(queries, top_k, self.rows.member(allowed))
        return scores, self.rows.image_ids[places]

    def refreshed(self, gallery: Gallery) -> "ExactIndex":
        """Return the index of another version of the same gallery."""
        rows = self.rows.refreshed(gallery)
        if rows.saved is not self.rows.saved:
            return ExactIndex(rows, self._device)
        index = ExactIndex.__new__(ExactIndex)
        index.rows, index._device = rows, self._device
        base = [block for block in self._blocks if block[0] < len(rows.base)]
        index._blocks = base + list(_of(rows.tail, len(rows.base), self._device))
        return index

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
        step = max(1, min(QUERIES_AT_ONCE, (1 << 22) // max(k, 1)))
        for start in range(0, len(queries) if k else 0, step):
            asked = queries[start : start + step]
            for number, found in enumerate(self._candidates(asked, k, count, member), start):
                scores[number], places[number] = self.best(queries[number], found, k)
        return scores, places

    def best(self, query: np.ndarray, places: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores (k,) float32, from the stored numbers, and places of the best of these rows."""
        exact = np.empty(len(places), np.float32)
        for start in range(0, len(places), _DECODED_ROWS):  # bounds the memory of decoded rows
            block = places[start : start + _DECODED_ROWS]
            rows = self.rows.take(block).astype(np.float64)
            exact[start : start + _DECODED_ROWS] = rows @ query.astype(np.float64)
        order = np.lexsort((self.rows.image_ids[places], -exact))[:k]
        return exact[order], places[order]

    def _candidates(
        self, queries: np.ndarray, k: int, count: int, member: np.ndarray | None
    ) -> Iterator[np.ndarray]:
        """Yield for each query the places, (n,) int64, of rows among which its k best certainly are."""
        if count <= FEW_ROWS:
            places = np.arange(count) if member is None else np.flatnonzero(member)
            yield from [places] * len(queries)
            return
        asked = torch.from_numpy(queries).to(self._device)
        score, error = scores_for(self._device, len(queries))
        fetched = min(k + SPARE_ROWS, count)
        tops: list[torch.Tensor] = []
        nears: list[np.ndarray] = []
        for piece in self._pieces(member):
            found = score(piece.rows, asked)
            if piece.allowed is not None:
                found = found.masked_fill(~piece.allowed, -torch.inf)
            top, near = found.topk(min(fetched, len(piece.places)), dim=1)
            tops.append(top.float().cpu())
            nears.append(piece.places[near.cpu().numpy()])
        top, order = torch.cat(tops, dim=1).topk(fetched, dim=1)
        places = np.take_along_axis(np.concatenate(nears, axis=1), order.numpy(), 1)
        # What seems worse than the k-th by more than both can be off is worse.
        cuts = (top[:, k - 1] - 2 * error).tolist()
        for number, cut in enumerate(cuts):
            if fetched < count and top[number, -1] >= cut:
                yield self._above(asked[number : number + 1], cut, member)
            else:
                yield places[number]

    def _above(self, query: torch.Tensor, cut: float, member: np.ndarray | None) -> np.ndarray:
        """Return the places of all rows that seem to score at least `cut`, less what a score can be off."""
        score, error = scores_for(self._device, 1)
        found = []
        for piece in self._pieces(member):
            is_above = score(piece.rows, query)[0] >= cut - error
            if piece.allowed is not None:
                is_above &= piece.allowed
            found.append(piece.places[is_above.cpu().numpy()])
        return np.concatenate(found)

    def _pieces(self, member: np.ndarray | None) -> Iterator[_Piece]:
        for start, rows in self._blocks:
            places = np.arange(start, start + len(rows))
            if member is None:
                yield _Piece(rows, places, None)
                continue
            inside = member[start : start + len(rows)]
            count = int(inside.sum())
            if count == len(rows):
                yield _Piece(rows, places, None)
            elif count > GATHER_BELOW * len(rows):
                yield _Piece(rows, places, torch.from_numpy(inside).to(self._device))
            elif count:
                chosen = np.flatnonzero(inside)
                yield _Piece(rows[torch.from_numpy(chosen).to(self._device)], places[chosen], None)


def checked(queries: np.ndarray) -> np.ndarray:
    """Return queries as they can be searched for. Raises InvalidQuery if one is not finite."""
    queries = np.ascontiguousarray(queries, np.float32)
    if not np.isfinite(queries).all():
        raise InvalidQuery("the embedding of the query is not finite; the encoder failed on it")
    return queries


def _blocks(rows: Rows, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
    yield from _of(rows.base, 0, device)
    yield from _of(rows.tail, len(rows.base), device)


def _of(embeddings: np.ndarray, first: int, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the first place of each block of rows, and the rows on the device."""
    for start in range(0, len(embeddings), CHUNK_ROWS):
        yield first + start, torch.from_numpy(embeddings[start : start + CHUNK_ROWS]).to(device)
