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

QUERIES_AT_ONCE, QUERIES_AT_ONCE_ON_GPU = 64, 1024
SPARE_ROWS = 64
GATHER_BELOW = 1 / 16
"""The share of allowed rows below which they are gathered instead of comparing their neighbours with them."""

_DECODED_ROWS = 8192


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
        asked = torch.from_numpy(queries).to(self._device)
        near, cuts = self._near(asked, k, count, member)
        scores, places = self._ordered(self._rescored(asked, near), near, k)
        for number in np.flatnonzero(np.isfinite(cuts)).tolist():
            above = self._above(asked[number : number + 1], cuts[number], member)
            scores[number], places[number] = self.best(queries[number], above, k)
        return scores, places

    def _near(
        self, asked: torch.Tensor, k: int, count: int, member: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the places (Q, n) of rows that seem the best, more than k, and for each query a cut, (Q,).

        The cut is infinite where these are certainly all that can be among the k best; else it is the score
        that such rows have at least.
        """
        score, error = scores_for(self._device, len(asked))
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
        # What seems worse than the k-th by more than both can be off is worse.
        cuts = (top[:, k - 1] - 2 * error).numpy()
        suffices = (top[:, -1].numpy() < cuts) | (fetched == count)
        return (
            np.take_along_axis(np.concatenate(nears, axis=1), order.numpy(), 1),
            np.where(suffices, np.inf, cuts),
        )

    def _rescored(self, asked: torch.Tensor, near: np.ndarray) -> np.ndarray:
        """Return the scores (Q, n) float32 of the rows at `near`, from the stored numbers."""
        exact = np.empty(near.shape, np.float32)
        step = max(1, _DECODED_ROWS // near.shape[1])
        score = self._scored if self._device.type == "cpu" else self._scored_on_device
        for start in range(0, len(near), step):
            exact[start : start + step] = score(asked[start : start + step], near[start : start + step])
        return exact

    def _scored(self, asked: torch.Tensor, places: np.ndarray) -> np.ndarray:
        rows = self.rows.take(places.ravel()).astype(np.float64).reshape(*places.shape, -1)
        return (rows @ asked.double().numpy()[:, :, None])[:, :, 0]

    def _scored_on_device(self, asked: torch.Tensor, places: np.ndarray) -> np.ndarray:
        rows = self._taken(places.ravel()).double().reshape(*places.shape, -1)
        return (rows @ asked.double()[:, :, None])[:, :, 0].cpu().numpy()

    def _taken(self, places: np.ndarray) -> torch.Tensor:
        """Return the rows at `places`, (n,), on the device."""
        taken = torch.empty((len(places), self.rows.base.shape[1]), dtype=torch.half, device=self._device)
        asked = torch.from_numpy(places).to(self._device)
        for start, rows in self._blocks:
            inside = (asked >= start) & (asked < start + len(rows))
            taken[inside] = rows[asked[inside] - start]
        return taken

    def _ordered(self, exact: np.ndarray, places: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best scores and their places, along the last axis; equal scores by image_id."""
        order = np.lexsort((self.rows.image_ids[places], -exact), axis=-1)[..., :k]
        return np.take_along_axis(exact, order, -1), np.take_along_axis(places, order, -1)

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
