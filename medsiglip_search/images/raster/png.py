"""PNG and its animations."""

from typing import BinaryIO

import imagecodecs
from PIL import Image

from medsiglip_search.images.limits import check_animation
from medsiglip_search.images.raster.decoding import Decoded, ends_early, malformed, open_pillow, truncated
from medsiglip_search.images.raster.pixels import Samples
from medsiglip_search.images.raster.png_chunks import PngChunks, read_chunks

# Colour types (PNG 3rd edition, table 8)
_COLOURED = (2, 3, 6)


class PngFile:
    """An open PNG file; an animation's frames are as they look after the ones before them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._png = read_chunks(stream)
        self._animation: Image.Image | None = None
        self.frame_count = _frame_count(self._png)
        check_animation(self.frame_count, self._png.rows, self._png.columns)

    def decode(self, frame: int) -> Decoded:
        """Return one frame; those of 16 bits as values, except for colour in an animation."""
        with ends_early(not self._png.is_complete):
            return Decoded(self._decode(frame), self._png.orientation)

    def _decode(self, frame: int) -> Samples | Image.Image:
        if self.frame_count > 1:
            return self._decode_animation(frame)
        return _decode_samples(self._png)

    def _decode_animation(self, frame: int) -> Image.Image:
        # Kept open, so that frames read one after another are drawn once; dropped after an error.
        image, self._animation = self._animation or open_pillow(self._png.file, "PNG"), None
        image.seek(frame)
        image.load()
        self._animation = image
        return image


def _frame_count(png: PngChunks) -> int:
    if not png.declared_frames:
        return 1
    if png.frames < png.declared_frames:
        raise malformed("it has fewer frames than it declares") if png.is_complete else truncated()
    return png.declared_frames + (not png.still_is_frame)


def _decode_samples(png: PngChunks) -> Samples:
    # libpng refuses rows that are missing; Pillow leaves them black.
    array = imagecodecs.png_decode(png.file.getvalue())
    is_colour = png.colour_type in _COLOURED
    # A transparent colour has become opacity.
    count = array.shape[2] if array.ndim == 3 else 1
    return Samples(array, is_colour, has_alpha=count == (4 if is_colour else 2))
