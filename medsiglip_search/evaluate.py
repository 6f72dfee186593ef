"""How good hits are, against a truth."""

import numpy as np


def precision_at_k(
    scores: np.ndarray, relevant: np.ndarray, k: int, allowed: np.ndarray | None = None
) -> np.ndarray:
    """Return (Q,) float64: the share of relevant images among the first k of each query.

    scores: (Q, N), higher is closer; ties break by column. relevant: (Q, N) bool.
    allowed: (Q, N) bool, which images may be hits at all; all by default.
    Where fewer than k images are relevant the first that many are looked at, so that 1 is always within
    reach; NaN where none is.
    """
    if allowed is None:
        allowed = np.ones_like(relevant)
    relevant = relevant & allowed
    order = np.argsort(np.where(allowed, -scores, np.inf), axis=1, kind="stable")
    ranked = np.take_along_axis(relevant, order, axis=1)
    depth = np.minimum(relevant.sum(axis=1), k)
    found = np.cumsum(ranked, axis=1)[np.arange(len(scores)), np.maximum(depth, 1) - 1]
    return np.where(depth > 0, found / np.maximum(depth, 1), np.nan)
