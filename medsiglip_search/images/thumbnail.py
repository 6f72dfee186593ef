"""What the gallery keeps of a picture: a small JPEG and a digest."""

import hashlib
import io

import numpy as np
from PIL import Image


def thumbnail(pixels: np.ndarray, size: int = 256) -> bytes:
    """Return a JPEG that fits in size x size pixels, the aspect kept; small pictures are not enlarged.

    pixels: (H, W, 3) uint8 RGB.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=85)
    return jpeg.getvalue()


def pixel_digest(pixels: np.ndarray) -> str:
    """Return the sha256, in hex, of the shape and the bytes of (H, W, 3) uint8 RGB."""
    digest = hashlib.sha256(repr(tuple(pixels.shape)).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
