"""RGB pictures -> the encoder's input tensor, as a `PreprocessSpec` says."""

from collections.abc import Sequence

import numpy as np
import torch

from medsiglip_search.encoders.fitting import fitted
from medsiglip_search.records import PreprocessSpec


def preprocess(
    images: Sequence[np.ndarray], spec: PreprocessSpec, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return (N, 3, size, size) float32 on `device`: fitted, resized to whole grey levels, normalised.

    images: (H, W, 3) uint8 RGB each, of any sizes. Raises ValueError for an array of another shape or type.
    """
    if not images:
        return torch.empty((0, 3, spec.size, spec.size), device=device)
    levels = torch.from_numpy(np.stack([fitted(image, spec) for image in images])).to(device)
    mean = torch.tensor(spec.mean, device=device).view(3, 1, 1)
    std = torch.tensor(spec.std, device=device).view(3, 1, 1)
    return (levels.permute(0, 3, 1, 2).float() / 255 - mean) / std
