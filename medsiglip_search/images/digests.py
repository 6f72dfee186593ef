"""What tells whether two files, or two pictures, are the same."""

import hashlib
import os

import numpy as np

from medsiglip_search.images.source import open_source, translated


def source_digest(source: str | os.PathLike[str] | bytes) -> str:
    """Return the SHA-256, in hex, of a file or its bytes. Raises Unreadable."""
    with open_source(source) as file, translated():
        return hashlib.file_digest(file, "sha256").hexdigest()


def pixel_digest(pixels: np.ndarray) -> str:
    """Return the SHA-256, in hex, of the shape and the bytes of (H, W, 3) uint8 RGB."""
    digest = hashlib.sha256(repr(tuple(pixels.shape)).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
