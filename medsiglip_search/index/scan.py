"""Inner products of many float16 rows with queries, in the arithmetic that the device is fastest in.

Each way comes with a bound of its error, so that the caller can tell which rows might be better than they
look, and compare those exactly.
"""

from collections.abc import Callable

import torch

from medsiglip_search.devices import multiplies_bf16

# Relative errors of rounding to nearest. With unit rows and queries, the error of a sum of products whose one
# factor was rounded is at most as large (Cauchy-Schwarz), and that of the rounded sum too.
_HALF, _BFLOAT16 = 2.0**-11, 2.0**-8 / 2
_SUMMATION = 1e-4  # of 1152 products in float32, and then some

FEW = 3
"""Queries up to which reading the rows once for each is faster than multiplying blocks."""

_BLOCK = 1024  # rows that stay in the processor's second cache while they are converted and multiplied

Scores = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def scores_for(device: torch.device, queries: int) -> tuple[Scores, float]:
    """Return what scores rows, and by how much a score can be off.

    It takes (n, D) float16 rows and (Q, D) float32 unit queries on the device, and returns (Q, n) floats.
    """
    if device.type != "cpu":
        # Tensor cores sum in float32, but may join partial sums in float16.
        return _products, 8 * _HALF
    if queries <= FEW:
        return _one_by_one, 2 * _HALF + _SUMMATION
    if multiplies_bf16(device):
        return _in_blocks(torch.bfloat16), 3 * _BFLOAT16 + _SUMMATION
    return _in_blocks(torch.float32), _SUMMATION


def _products(rows: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    return queries.half() @ rows.T


def _one_by_one(rows: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.mv(rows, query) for query in queries.half()])


def _in_blocks(dtype: torch.dtype) -> Scores:
    def scores(rows: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        found = torch.empty((len(queries), len(rows)), dtype=dtype)
        asked = queries.to(dtype)
        wide = torch.empty((_BLOCK, rows.shape[1]))
        narrow = wide if dtype == torch.float32 else torch.empty_like(wide, dtype=dtype)
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            size = len(block)
            # float16 -> float32 -> bfloat16: each step is vectorised, the direct way is not (4 times slower).
            wide[:size].copy_(block)
            if narrow is not wide:
                narrow[:size].copy_(wide[:size])
            found[:, start : start + size] = asked @ narrow[:size].T
        return found

    return scores
