"""Nearest neighbours among a gallery's embeddings: exact, or a first stage with exact re-ranking."""

import logging
import os
from collections.abc import Callable
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
    import torch

    from medsiglip_search.index.exact import ExactIndex
    from medsiglip_search.index.rows import Rows

    if kind not in get_args(Kind):
        raise InvalidQuery(f"index {kind!r}: no such kind; use {', '.join(get_args(Kind))}")
    if not 0 < recall <= 1:
        raise InvalidQuery(f"a recall of {recall:g}: give a share of the best images, above 0 and at most 1")
    rows = Rows.open(gallery)
    on = torch.device("cpu")
    size = rows.count * gallery.meta.dim * 2
    if kind in ("auto", "exact") and device != "cpu" and torch.cuda.is_available():
        on = torch.device("cuda" if device == "auto" else device)
    if kind == "auto":
        if size > _memory(on) and on.type != "cpu":
            on = torch.device("cpu")
        kind = "exact" if size <= _memory(on) else "ivf"
    from medsiglip_search.index.staged import SUBSET_ROWS, StagedIndex

    if kind == "exact" or rows.count <= SUBSET_ROWS:
        return ExactIndex(rows, on)
    return StagedIndex.open(gallery, rows, kind, recall, texts)


def _memory(device: "torch.device") -> float:
    """Return how many bytes of rows exact search may hold on a device."""
    import torch

    if device.type == "cuda":
        return SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]
    return SHARE_OF_MEMORY * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
