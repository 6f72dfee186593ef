"""Ways to run a vision tower; `SiglipTowers` takes the fastest that a machine has."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from medsiglip_search.records import PreprocessSpec


class ImageTower(Protocol):
    """What turns pictures into embeddings.

    batch_size: how many pictures are worth handing over at once.
    """

    batch_size: int

    def pooled(self, images: Sequence[np.ndarray], spec: PreprocessSpec) -> np.ndarray:
        """Return (N, D) float32 embeddings, not of norm 1, of (H, W, 3) uint8 pictures of any sizes.

        Raises MemoryError where the device has not the memory for so many.
        """
        ...
