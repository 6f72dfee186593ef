"""Picture files in memory, and what comes of reading them."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medsiglip_search.errors import Unreadable
from medsiglip_search.images import open_image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the image as a file of this kind."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(file: bytes, frame: int = 0) -> np.ndarray:
    """Return the pixels of one frame."""
    with open_image(file) as opened:
        return opened.read(frame).pixels


def refusal(file: bytes) -> Unreadable:
    """Return why a file is rejected."""
    with pytest.raises(Unreadable) as caught:
        read(file)
    return caught.value


def as_rgb(grey: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) of (H, W)."""
    return np.repeat(grey[..., np.newaxis], 3, axis=-1)
