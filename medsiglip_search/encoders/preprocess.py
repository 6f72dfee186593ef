"""RGB pictures -> the encoder's input tensor, as a `PreprocessSpec` says."""

from collections.abc import Sequence

import numpy as np
import torch

from medsiglip_search.encoders.fitting import fitted
from medsiglip_search.records import PreprocessSpec


def stacked(images: Sequence[np.ndarray], spec: PreprocessSpec) -> torch.Tensor:
    """Return (N, size, size, 3) uint8: fitted and resized to whole grey levels.

    images: (H, W, 3) uint8 RGB each, of any sizes. Raises ValueError for an array of another shape or type.
    """
    if not len(images):
        return torch.empty((0, spec.size, spec.size, 3), dtype=torch.uint8)
    return torch.from_numpy(np.stack([fitted(image, spec) for image in images]))


def preprocess(
    images: Sequence[np.ndarray], spec: PreprocessSpec, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return (N, 3, size, size) float32 on `device`, normalised: what transformers' own model takes.

    images, errors: as for `stacked`.
    """
    levels = stacked(images, spec).to(device)
    mean = torch.tensor(spec.mean, device=device).view(3, 1, 1)
    std = torch.tensor(spec.std, device=device).view(3, 1, 1)
    return (levels.permute(0, 3, 1, 2).float() / 255 - mean) / std
