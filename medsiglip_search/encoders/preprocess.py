"""RGB pictures -> the encoder's input tensor, as a `PreprocessSpec` says."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from medsiglip_search.records import PreprocessSpec


def preprocess(
    images: Sequence[np.ndarray], spec: PreprocessSpec, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return (N, 3, size, size) float32 on `device`: fitted, resized to whole grey levels, normalised.

    images: (H, W, 3) uint8 RGB each, of any sizes.
    Raises ValueError for an array of another shape or type.
    """
    if not images:
        return torch.empty((0, 3, spec.size, spec.size), device=device)
    levels = torch.stack([model_input(image, spec, device) for image in images])
    mean = torch.tensor(spec.mean, device=device).view(3, 1, 1)
    std = torch.tensor(spec.std, device=device).view(3, 1, 1)
    return (levels.permute(0, 3, 1, 2).float() / 255 - mean) / std


def pad_square(image: np.ndarray) -> np.ndarray:
    """Return the picture in the middle of a black square of its longer side.

    An odd remainder goes below and to the right.
    """
    rows, columns = image.shape[:2]
    side = max(rows, columns)
    if rows == columns:
        return image
    square = np.zeros((side, side, 3), dtype=np.uint8)
    top, left = (side - rows) // 2, (side - columns) // 2
    square[top : top + rows, left : left + columns] = image
    return square


def model_input(image: np.ndarray, spec: PreprocessSpec, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return (size, size, 3) uint8 on `device`: the picture as the encoder sees it, before normalisation.

    Raises ValueError for anything but (H, W, 3) uint8.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"a picture must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
    return resize(pad_square(image) if spec.fit == "pad" else image, spec, device)


def resize(image: np.ndarray, spec: PreprocessSpec, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return (size, size, 3) uint8 on `device`, the aspect ignored."""
    if spec.resample == "bicubic":
        # The published processor configuration: Pillow's resize, which widens the kernel when it shrinks.
        small = Image.fromarray(image).resize((spec.size, spec.size), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(small)).to(device)
    # torch takes neither negative strides nor memory that it may not write to.
    return _tf_bilinear(torch.from_numpy(np.require(image, requirements=["C", "W"])).to(device), spec.size)


def _tf_bilinear(image: torch.Tensor, size: int) -> torch.Tensor:
    """Return (size, size, 3) uint8, as `tf.image.resize(..., antialias=False)` cast to uint8.

    torch's `interpolate` has the same kernel, but it weighs in another order, and where the exact result is
    a whole number its last bit decides which grey level the cast keeps. This is TensorFlow's own order
    (resize_bilinear_op.cc), and it reads only the four pixels that each result needs.
    """
    rows, columns = image.shape[:2]
    above, below, down = _neighbours(rows, size, image.device)
    left, right, across = _neighbours(columns, size, image.device)
    down, across = down.view(-1, 1, 1), across.view(1, -1, 1)
    upper, lower = image[above], image[below]
    top = _between(upper[:, left].float(), upper[:, right].float(), across)
    bottom = _between(lower[:, left].float(), lower[:, right].float(), across)
    return _between(top, bottom, down).to(torch.uint8)  # drops the fraction, as TensorFlow's cast does


def _between(a: torch.Tensor, b: torch.Tensor, way: torch.Tensor) -> torch.Tensor:
    # Not torch.lerp: from the middle on it starts at b, which rounds differently.
    return a + (b - a) * way


def _neighbours(source: int, target: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Return for each target position the two source positions beside it and the way between, 0..1."""
    scale = torch.tensor(source, dtype=torch.float32) / target
    position = (torch.arange(target, dtype=torch.float32) + 0.5) * scale - 0.5
    before = position.floor()
    first = before.clamp(min=0).long()
    second = position.ceil().clamp(max=source - 1).long()
    return first.to(device), second.to(device), (position - before).to(device)
