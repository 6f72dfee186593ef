"""Nearest neighbours among a gallery's embeddings: exact, or a first stage with exact re-ranking."""

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.gallery import Gallery

if TYPE_CHECKING:
    import torch

Kind = Literal["auto", "exact", "int8", "ivf", "hnsw", "graph"]
"""exact: every row is compared. int8, ivf, hnsw, graph: the first stages of `index.faiss`.
auto: exact, or ivf beyond memory."""

SHARE_OF_MEMORY = 0.5
"""Of the machine's memory, or of what is free on a GPU, that the rows of exact search may take."""

log = logging.getLogger(__name__)


class Index(Protocol):
    """The embeddings of one version of a gallery, ready to be searched. kind: any but auto."""

    kind: str

    def search(
        self, queries: np.ndarray, top_k: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (Q, k) float32 and image_ids (Q, k) int64, best first, equal scores by image_id.

        queries: (Q, D) float32 unit rows. top_k: at least 1; k is the smaller of it and the rows allowed.
        allowed: image_ids that may be answered, in any order; every image if None. Ids that the index does
        not hold do not count. The array must not be changed afterwards: it is known again by what it is.
        """
        ...

    def refreshed(self, gallery: Gallery) -> "Index":
        """Return the index of another version of the same gallery; what is loaded already is used again."""
        ...


def open_index(
    gallery: Gallery,
    kind: Kind = "auto",
    recall: float = 0.95,
    device: str = "auto",
    texts: Callable[[], np.ndarray] | None = None,
) -> Index:
    """Return an index of the gallery's version, from its folder as far as it is there and sound, else built.

    recall: the share of the ten best images that an approximate index must find, 0..1. A gallery of few
        images has no use for one, and gets an exact index.
    device: where exact search computes: "auto" (a GPU where there is one), or what torch calls it.
    texts: makes (n, D) embeddings of typical texts, on which an approximate index is measured when built.
    Raises IndexUnavailable, InvalidQuery.
    """
    from medsiglip_search.index.rows import Rows

    if kind not in get_args(Kind):
        raise InvalidQuery(f"index {kind!r}: no such kind; use {', '.join(get_args(Kind))}")
    if not 0 < recall <= 1:
        raise InvalidQuery(f"a recall of {recall:g}: give a share of the best images, above 0 and at most 1")
    # To check a million rows takes a second, and to import torch two.
    with ThreadPoolExecutor(1) as beside:
        opening = beside.submit(Rows.open, gallery)
        from medsiglip_search.index.exact import ExactIndex
        from medsiglip_search.index.staged import SUBSET_ROWS, StagedIndex

        rows = opening.result()
    chosen, on = _chosen(kind, device, rows.count * gallery.meta.dim * 2)
    if chosen == "exact" or rows.count <= SUBSET_ROWS:
        return ExactIndex(rows, on)
    return StagedIndex.open(gallery, rows, chosen, recall, texts)


def _chosen(kind: Kind, device: str, size_bytes: int) -> "tuple[Kind, torch.device]":
    """Return what kind of index suits rows of this size, and the device that exact search computes on."""
    import torch

    cpu = torch.device("cpu")
    if kind in ("auto", "exact") and device != "cpu" and torch.cuda.is_available():
        gpu = torch.device("cuda" if device == "auto" else device)
        if kind == "exact" or size_bytes <= SHARE_OF_MEMORY * torch.cuda.mem_get_info(gpu)[0]:
            return "exact", gpu
    if kind == "auto":
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return ("exact" if size_bytes <= SHARE_OF_MEMORY * memory else "ivf"), cpu
    return kind, cpu
