"""A vision tower that torch runs as it is, layer by layer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from medsiglip_search.encoders.preprocess import stacked
from medsiglip_search.encoders.torch_calls import chunks, memory_error
from medsiglip_search.records import PreprocessSpec

if TYPE_CHECKING:
    from medsiglip_search.encoders.siglip.vision import VisionTower

FEWEST_TOGETHER = 4
"""Pictures that a batch is filled up to. With AVX-512 two would do, with AMX three."""


class TorchTower:
    """A tower that torch runs as it is.

    batch_size: how many pictures it multiplies at once.
    """

    def __init__(self, tower: "VisionTower", batch_size: int) -> None:
        self.batch_size = batch_size
        self._tower = tower

    @torch.inference_mode()
    def pooled(self, images: Sequence[np.ndarray], spec: PreprocessSpec) -> np.ndarray:
        """See `ImageTower`."""
        rows = [np.empty((0, self._tower.dim), np.float32)]
        with memory_error():
            for chunk in chunks(images, self.batch_size):
                levels = self._filled(stacked(chunk, spec)).to(self._tower.model.device)
                rows.append(self._tower(levels)[: len(chunk)].float().cpu().numpy())
        return np.concatenate(rows)

    def _filled(self, levels: torch.Tensor) -> torch.Tensor:
        """Return at least `FEWEST_TOGETHER` pictures, unless they are taken one at a time.

        Few pictures are multiplied by other routines, which round otherwise: a query would not meet its own
        row with a cosine of 1, and a run that was interrupted would end in other rows.
        """
        missing = 0 if self.batch_size == 1 else max(0, FEWEST_TOGETHER - len(levels))
        return torch.cat([levels, levels[-1:].expand(missing, -1, -1, -1)]) if missing else levels
