"""Metrics of one ranking, as trec_eval defines them, from the ranks of what is relevant in it."""

import numpy as np

from medsiglip_search.evaluate.metrics import segment_sums


def order_of(scores: np.ndarray) -> np.ndarray:
    """Return the places, (N,) int64, of (N,) float32 scores from the highest down; ties by place."""
    # One sort of integers that hold a score's bits, in an order that is that of the scores, and its place:
    # 15 times as fast as a stable argsort.
    bits = (scores.astype(np.float32) + np.float32(0)).view(np.uint32)  # -0 becomes 0
    descending = np.where(bits >> 31 == 1, bits, ~bits & np.uint32(0x7FFFFFFF))
    keys = descending.astype(np.uint64) << np.uint64(32) | np.arange(len(scores), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)


def ranks_of(relevant: np.ndarray) -> np.ndarray:
    """Return the ranks, counted from 1, of the relevant ones among (N,) bool in their order."""
    return np.flatnonzero(relevant) + 1


def ranks_of_copies(order: np.ndarray, relevant: np.ndarray, copies: np.ndarray) -> list[np.ndarray]:
    """Return what `ranks_of` does for each of R resamples of N images.

    order: (N,), the images from the best down. relevant: (N,) bool and copies: (N, R), how often each is
    drawn, in the images' own order. Copies of an image follow each other.
    """
    hits = relevant[order]
    others = order[~hits]
    bounds = np.append(0, np.cumsum(~hits)[hits])  # the irrelevant ones between two relevant ones
    between = segment_sums(1.0, others[: bounds[-1]], bounds, copies)
    before = np.cumsum(between, axis=0).astype(np.int64)
    drawn = copies[order[hits]].astype(np.int64)
    # The m-th relevant one comes after the irrelevant ones before it and m - 1 relevant ones.
    return [
        np.repeat(ahead, times) + np.arange(1, times.sum() + 1)
        for ahead, times in zip(before.T, drawn.T, strict=True)
    ]


def precision_at(ranks: np.ndarray, k: int) -> float:
    """Return the share of the first k that is relevant; of k even if there are fewer."""
    return np.count_nonzero(ranks <= k) / k


def recall_at(ranks: np.ndarray, k: int) -> float:
    """Return the share of the relevant that is among the first k; NaN if nothing is relevant."""
    return np.count_nonzero(ranks <= k) / len(ranks) if len(ranks) else np.nan


def average_precision(ranks: np.ndarray) -> float:
    """Return the mean of the precisions at each relevant one; NaN if nothing is relevant."""
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else np.nan


def ndcg(ranks: np.ndarray, k: int | None = None) -> float:
    """Return the discounted gain over that of the best order, gains of 1; NaN if nothing is relevant.

    k: of the first k only.
    """
    if not len(ranks):
        return np.nan
    ideal = np.arange(1, len(ranks) + 1)
    if k is not None:
        ranks, ideal = ranks[ranks <= k], ideal[:k]
    return float(_gain(ranks) / _gain(ideal))


def _gain(ranks: np.ndarray) -> float:
    return float(np.sum(1 / np.log2(ranks + 1)))
