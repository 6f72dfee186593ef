"""Nearest neighbours among a gallery's embeddings. One file per engine stands beside this one."""

from typing import Protocol

import numpy as np

from medsiglip_search.gallery import Gallery


class Index(Protocol):
    """The embeddings of one version of a gallery, ready to be searched."""

    def search(
        self, queries: np.ndarray, top_k: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (Q, k) float32 and image_ids (Q, k) int64, best first, equal scores by image_id.

        queries: (Q, D) float32 unit rows. top_k: at least 1; k is the smaller of it and the rows allowed.
        allowed: image_ids that may be answered, in any order; every image if None. Ids that the index does
        not hold do not count.
        """
        ...


def open_index(gallery: Gallery) -> Index:
    """Return the index of the gallery's version, from its folder where it is there and sound, else built."""
    from medsiglip_search.index.faiss import ExactIndex

    return ExactIndex.open(gallery)
