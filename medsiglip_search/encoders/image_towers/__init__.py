"""Ways to run a vision tower; `SiglipTowers` takes the fastest that a machine has."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from medsiglip_search.records import PreprocessSpec

if TYPE_CHECKING:
    import torch

LARGE = 100_000_000
"""Parameters from which on a processor takes long for a picture."""

ON_SLOW, ON_GPU, TOGETHER = 4, 128, 32
"""Pictures worth handing over at once: few where each takes a second, for a killed run loses them."""


def is_slow(device: "torch.device", parameters: int) -> bool:
    """Tell whether a model of so many parameters takes long for a picture on this device."""
    return device.type == "cpu" and parameters >= LARGE


def handed_over(device: "torch.device", parameters: int) -> int:
    """Return how many pictures are worth handing over at once."""
    if is_slow(device, parameters):
        return ON_SLOW
    return ON_GPU if device.type == "cuda" else TOGETHER


def multiplied_together(device: "torch.device", parameters: int) -> int:
    """Return how many pictures or texts torch multiplies at once.

    One at a time is the fastest that it does with a large tower on a processor.
    """
    return 1 if is_slow(device, parameters) else TOGETHER


class ImageTower(Protocol):
    """What turns pictures into embeddings."""

    def pooled(self, images: Sequence[np.ndarray], spec: PreprocessSpec) -> np.ndarray:
        """Return (N, D) float32 embeddings, not of norm 1, of (H, W, 3) uint8 pictures of any sizes.

        Raises MemoryError where the device has not the memory for so many.
        """
        ...
