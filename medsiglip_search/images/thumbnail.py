"""Pictures as files: the small JPEG that the gallery keeps, and PNG."""

import io

import numpy as np
from PIL import Image


def thumbnail(pixels: np.ndarray, size: int = 256) -> bytes:
    """Return a JPEG that fits in size x size pixels, the aspect kept; small pictures are not enlarged.

    pixels: (H, W, 3) uint8 RGB.
    """
    image = Image.fromarray(pixels)
    # Means of whole blocks first, down to less than twice the size, then Hamming's kernel: half the time that
    # Lanczos takes, and what that changes, a grey level at most on the mean, is below what JPEG loses.
    image.thumbnail((size, size), Image.Resampling.HAMMING, reducing_gap=1.0)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=85)
    return jpeg.getvalue()


def png(pixels: np.ndarray) -> bytes:
    """Return (H, W, 3) uint8 RGB, or (H, W, 4) RGBA, as a PNG file, every pixel as it is."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
