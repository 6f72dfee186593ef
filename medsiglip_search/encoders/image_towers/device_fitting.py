"""Pictures fitted where the tower runs: the grey levels of `fitting.fitted`, by the same steps in torch."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from medsiglip_search.encoders.fitting import between
from medsiglip_search.records import PreprocessSpec


def fits_on_device(image: np.ndarray, spec: PreprocessSpec) -> bool:
    """Tell whether a picture is still to be fitted, in a way that is known here: Pillow's kernels are not."""
    is_known = spec.resample == "tf_bilinear" and spec.fit in ("pad", "stretch")
    return is_known and image.shape != (spec.size, spec.size, 3)


class DeviceFitter:
    """Fits pictures on a device.

    Each step is an operation of its own, never compiled into one: a product and a sum would be rounded once
    instead of twice, and where the exact result is a whole number that decides which grey level is kept.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._places = lru_cache(maxsize=64)(self._new_places)  # the pictures of an archive have few sizes

    def fitted(self, picture: torch.Tensor, spec: PreprocessSpec) -> torch.Tensor:
        """Return (size, size, 3) uint8 of a (rows, columns, 3) uint8 picture on this device."""
        rows, columns = picture.shape[:2]
        side = max(rows, columns) if spec.fit == "pad" else None
        above, below, down = self._places(rows, side or rows, spec.size)
        left, right, across = self._places(columns, side or columns, spec.size)
        framed = F.pad(picture, (0, 0, 0, 1, 0, 1))  # black is one line and one column, for all around it
        top = _mixed(*_columns(framed[above], left, right), across[:, None])
        bottom = _mixed(*_columns(framed[below], left, right), across[:, None])
        levels = _mixed(top, bottom, down[:, None, None])
        return levels.to(torch.uint8)  # drops the fraction, as TensorFlow's cast does

    def _new_places(
        self, length: int, side: int, size: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return `between` of a side, as places in a picture of this length in its middle.

        What lies beside the picture is at place `length`.
        """
        first, second, way = between(side, size)
        own = [places - (side - length) // 2 for places in (first, second)]
        before, after = (np.where((places >= 0) & (places < length), places, length) for places in own)
        return self._here(before), self._here(after), self._here(way)

    def _here(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device)


def _columns(
    lines: torch.Tensor, left: torch.Tensor, right: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the columns on the left and on the right of each target column, float32."""
    return lines[:, left].float(), lines[:, right].float()


def _mixed(start: torch.Tensor, end: torch.Tensor, way: torch.Tensor) -> torch.Tensor:
    """Return float32 values on the way from `start`, 0, to `end`, 1; `end` is used up."""
    end -= start
    end *= way
    end += start
    return end
