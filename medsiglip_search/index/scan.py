"""Comparing queries with every float16 row, in the arithmetic that the device is fastest in.

A scan is a little off, by a bound that it knows, so that the caller can tell which rows might be better than
they look, and compare those exactly.
"""

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from medsiglip_search.devices import lone_threads, multiplies_bf16

CHUNK_ROWS, CHUNK_ROWS_ON_GPU = 3 << 16, 1 << 20
"""Rows whose scores are looked at together. The scores of 64 queries in bfloat16 are below 32 MB then, and
the C library keeps the memory; more the system clears anew each time. A GPU waits after each chunk."""

GATHER_BELOW = 1 / 16
"""The share of allowed rows below which they are gathered instead of comparing their neighbours with them."""

# Relative errors of rounding to nearest. With unit rows and queries, the error of a sum of products whose one
# factor was rounded is at most as large (Cauchy-Schwarz), and that of the rounded sum too.
HALF, BFLOAT16 = 2.0**-11, 2.0**-9
SUMMATION = 1e-4  # of 1152 products in float32, and then some

_BLOCK = 1024  # rows that stay in the processor's second cache while they are converted and multiplied


class Scan(Protocol):
    """Compares unit queries with rows. error: by how much a score can be off."""

    @property
    def error(self) -> float: ...

    def near(
        self, queries: np.ndarray, count: int, member: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (Q, count) float32 and places (Q, count) int64 of the rows that seem best, in order.

        queries: (Q, D) float32. count: at most as many as there are members. member: (N,) bool, None for all.
        """
        ...

    def above(self, query: np.ndarray, cut: float, member: np.ndarray | None) -> np.ndarray:
        """Return the places, (n,) int64, of all rows that seem to score at least `cut`. query: (D,)."""
        ...


Scores = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes (n, D) float16 rows and (Q, D) float32 queries on one device, and returns (Q, n) floats."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows on the device. places: of each row, (n,) int64. allowed: (n,) bool, None for all."""

    rows: torch.Tensor
    places: np.ndarray
    allowed: torch.Tensor | None


class TorchScan:
    """Multiplies blocks of rows with many queries at once, on the processor or a GPU; implements `Scan`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._blocks: list[tuple[int, torch.Tensor]] = []
        self._score, self.error = scores_on(device)

    def add(self, first: int, rows: np.ndarray) -> None:
        """Take in rows, (n, D) float16, whose places begin at `first`; to a GPU they go piece by piece."""
        size = CHUNK_ROWS if self._device.type == "cpu" else CHUNK_ROWS_ON_GPU
        for start in range(0, len(rows), size):
            block = torch.from_numpy(rows[start : start + size]).to(self._device)
            self._blocks.append((first + start, block))

    def up_to(self, end: int) -> "TorchScan":
        """Return a scan of the rows at places below `end`, which were added together; none is moved."""
        scan = TorchScan(self._device)
        scan._blocks = [block for block in self._blocks if block[0] < end]
        return scan

    def near(
        self, queries: np.ndarray, count: int, member: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and places as `Scan` says."""
        asked = torch.from_numpy(queries).to(self._device)
        tops: list[torch.Tensor] = []
        nears: list[np.ndarray] = []
        for piece in self._pieces(member):
            found = self._score(piece.rows, asked)
            if piece.allowed is not None:
                found = found.masked_fill(~piece.allowed, -torch.inf)
            top, near = found.topk(min(count, len(piece.places)), dim=1)
            tops.append(top.float().cpu())
            nears.append(piece.places[near.cpu().numpy()])
        top, order = torch.cat(tops, dim=1).topk(count, dim=1)
        return top.numpy(), np.take_along_axis(np.concatenate(nears, axis=1), order.numpy(), 1)

    def above(self, query: np.ndarray, cut: float, member: np.ndarray | None) -> np.ndarray:
        """Return places as `Scan` says."""
        asked = torch.from_numpy(query[None]).to(self._device)
        found = []
        for piece in self._pieces(member):
            is_above = self._score(piece.rows, asked)[0] >= cut
            if piece.allowed is not None:
                is_above &= piece.allowed
            found.append(piece.places[is_above.cpu().numpy()])
        return np.concatenate(found)

    def take(self, places: np.ndarray) -> torch.Tensor:
        """Return the rows at `places`, (n,), on the device."""
        asked = torch.from_numpy(places).to(self._device)
        taken = torch.empty((len(places), self._blocks[0][1].shape[1]), dtype=torch.half, device=self._device)
        for start, rows in self._blocks:
            inside = (asked >= start) & (asked < start + len(rows))
            taken[inside] = rows[asked[inside] - start]
        return taken

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


def scores_on(device: torch.device) -> tuple[Scores, float]:
    """Return what scores rows on a device, and by how much a score can be off."""
    if device.type != "cpu":
        # Tensor cores sum in float32, but may join partial sums in float16.
        return products, 8 * HALF
    if multiplies_bf16(device):
        return in_blocks(torch.bfloat16), 3 * BFLOAT16 + SUMMATION
    return in_blocks(torch.float32), SUMMATION


def products(rows: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """Return the scores as a GPU computes them."""
    return queries.half() @ rows.T


def in_blocks(dtype: torch.dtype) -> Scores:
    """Return what scores rows on the processor, in float32 or bfloat16."""

    def scores(rows: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        found = torch.empty((len(queries), len(rows)), dtype=dtype)
        asked = queries.to(dtype)

        def score(start: int, end: int) -> None:
            wide = torch.empty((_BLOCK, rows.shape[1]))
            narrow = wide if dtype == torch.float32 else torch.empty_like(wide, dtype=dtype)
            for first in range(start, end, _BLOCK):
                block = rows[first : min(first + _BLOCK, end)]
                size = len(block)
                # float16 -> float32 -> bfloat16: each step is vectorised, the direct way is not, and 4 times
                # slower.
                wide[:size].copy_(block)
                if narrow is not wide:
                    narrow[:size].copy_(wide[:size])
                found[:, first : first + size] = asked @ narrow[:size].T

        pool, count = _workers()
        step = _BLOCK * max(1, len(rows) // (8 * count * _BLOCK))  # small, so that no thread ends long after
        starts = range(0, len(rows), step)
        list(pool.map(score, starts, (min(start + step, len(rows)) for start in starts)))
        return found

    return scores


@functools.cache
def _workers() -> tuple[ThreadPoolExecutor, int]:
    return lone_threads("scan")
