"""An open picture file of any kind but DICOM."""

import warnings
from collections.abc import Callable, Sequence
from typing import BinaryIO

import numpy as np
from PIL import Image

from medsiglip_search.images.raster.bmp import BmpFile
from medsiglip_search.images.raster.decoding import Container, Decoded
from medsiglip_search.images.raster.gif import GifFile
from medsiglip_search.images.raster.jpeg import JpegFile
from medsiglip_search.images.raster.orientation import upright
from medsiglip_search.images.raster.pixels import (
    image_to_rgb,
    no_values_to_window,
    range_of,
    samples_to_rgb,
    with_values,
)
from medsiglip_search.images.raster.png import PngFile
from medsiglip_search.images.raster.tiff import TiffFile
from medsiglip_search.images.raster.webp import WebpFile
from medsiglip_search.images.sniff import SNIFF_BYTES, sniff
from medsiglip_search.records import Picture
from medsiglip_search.windows import ValueRange, Window

# Pillow's own size warning is superseded by check_frame; others quote a file's metadata.
warnings.filterwarnings("ignore", module=r"PIL\.")

_CONTAINERS: dict[str, Callable[[BinaryIO], Container]] = {
    "png": PngFile,
    "jpeg": JpegFile,
    "tiff": TiffFile,
    "bmp": BmpFile,
    "webp": WebpFile,
    "gif": GifFile,
}


class RasterFile:
    """An open picture file; pages and animation frames are its frames.

    Raises Unreadable for what is too large, ends early or is no picture. Decoders' other exceptions pass
    through.
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Open a file that `sniff` knows as one of these kinds."""
        kind = sniff(stream.read(SNIFF_BYTES))
        stream.seek(0)
        self._container = _CONTAINERS[str(kind)](stream)
        self.frame_count = self._container.frame_count

    def frame_order(self) -> Sequence[int]:
        """Return the frame numbers in the order in which they follow one another."""
        return range(self.frame_count)

    def read(self, frame: int, window: Window | None = None) -> Picture:
        """Return one frame, upright.

        window: in the stored values of grey of more than 8 bits. Raises InvalidQuery for other pictures.
        """
        decoded = self._container.decode(frame)
        orientation = decoded.orientation
        pixels = _to_rgb(decoded, window)
        del decoded  # as large as the pixels, which are copied once more to be turned
        return Picture(np.ascontiguousarray(upright(pixels, orientation)), frame)

    def value_range(self, frame: int) -> ValueRange | None:
        """Return which values one frame has; None for a picture of levels or colours."""
        samples = self._container.decode(frame).samples
        if isinstance(samples, Image.Image):
            samples = with_values(samples)
        return None if isinstance(samples, Image.Image) else range_of(samples)


def _to_rgb(decoded: Decoded, window: Window | None) -> np.ndarray:
    samples = decoded.samples
    if isinstance(samples, Image.Image):
        samples = with_values(samples)
    if not isinstance(samples, Image.Image):
        return samples_to_rgb(samples, window)
    if window is not None:
        raise no_values_to_window()
    return image_to_rgb(samples)
