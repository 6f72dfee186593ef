"""PNG, JPEG, TIFF, BMP, WebP and GIF. The home of Pillow as a reader of archives."""

import struct
import warnings
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from PIL import Image

from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images.levels import render_grey
from medsiglip_search.images.limits import check_frame
from medsiglip_search.images.source import stream_size
from medsiglip_search.records import Picture
from medsiglip_search.windows import RenderSpec, Window

# Pillow's own size warning is superseded by check_frame; others quote a file's metadata.
warnings.filterwarnings("ignore", module=r"PIL\.")

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_ORIENTATION = 0x0112
_PHOTOMETRIC, _BITS_PER_SAMPLE, _SAMPLE_FORMAT = 262, 258, 339
_STRIPS, _TILES = (273, 279), (324, 325)


class RasterFile:
    """An open picture file; pages and animation frames are its frames.

    Raises Unreadable for what is too large or ends early. Pillow's other exceptions pass through.
    """

    def __init__(self, stream: BinaryIO, rendering: RenderSpec) -> None:
        self._stream = stream
        self._rendering = rendering
        try:
            self._image: Image.Image = Image.open(stream, formats=_FORMATS)
            # A multi-picture JPEG holds previews of itself.
            self.frame_count = 1 if self._image.format == "MPO" else int(getattr(self._image, "n_frames", 1))
        except Exception as error:
            raise _refusal(error, stream, None) from error

    def frame_order(self) -> Sequence[int]:
        """Return the frame numbers in the order in which they follow one another."""
        return range(self.frame_count)

    def read(self, frame: int, window: Window | None = None) -> Picture:
        """Return one frame, upright."""
        image = self._image
        try:
            image.seek(frame)
            _check_size(image)  # pages differ in size
            image.load()
        except Exception as error:
            raise _refusal(error, self._stream, image) from error
        pixels = _upright(_to_rgb(image), _orientation(image))
        return Picture(np.ascontiguousarray(pixels), frame)


def _check_size(image: Image.Image) -> None:
    check_frame(image.height, image.width, bits_per_pixel=8 * (4 if image.mode in _DEEP_MODES else 3))


def _refusal(error: Exception, stream: BinaryIO, image: Image.Image | None) -> Exception:
    """Return the exception to raise in place of Pillow's, or Pillow's own where there is nothing to add."""
    if isinstance(error, Image.DecompressionBombError):
        return Unreadable(Reason.TOO_LARGE, "The picture is over the limit of pixels. Reduce or tile it.")
    if not isinstance(error, Unreadable) and _ends_early(stream, image):
        return Unreadable(Reason.TRUNCATED, "The picture ends early. Copy it again from its source.")
    return error


def _to_rgb(image: Image.Image) -> np.ndarray:
    """Return (H, W, 3) uint8 of a loaded image of any mode; transparency shows black."""
    if image.mode in _DEEP_MODES:
        return _deep_to_rgb(image)
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        image = Image.new("RGB", layered.size)
        image.paste(layered, mask=layered.getchannel("A"))
    return np.array(image.convert("RGB"))


def _deep_to_rgb(image: Image.Image) -> np.ndarray:
    """Return (H, W, 3) uint8 of grey of 16 or 32 bits, black and white at its lowest and highest value."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode == "I" and tags.get(_BITS_PER_SAMPLE) == (32,) and tags.get(_SAMPLE_FORMAT, (1,)) == (1,):
        values = values.view(np.uint32)  # Pillow reads unsigned values as signed
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    white_is_zero = tags.get(_PHOTOMETRIC) == 0  # Pillow inverts those of 8 bits and fewer only
    return render_grey(values, Window(low, high), invert=white_is_zero)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1..8, of a loaded image; Pillow turns a TIFF itself, and forgets it."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged metadata is no reason to lose the picture
        return 1
    return orientation if orientation in range(1, 9) else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return the pixels turned and mirrored as EXIF orientation 1..8 asks (CIPA DC-008, 4.6.4)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _ends_early(stream: BinaryIO, image: Image.Image | None) -> bool:
    """Tell whether the end that a file of this kind must have is missing."""
    size = stream_size(stream)
    stream.seek(0)
    head = stream.read(32)
    stream.seek(max(0, size - 4096))
    tail = stream.read()
    if head.startswith(b"\x89PNG"):
        return b"IEND" not in tail
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in tail
    if head.startswith(b"GIF"):
        return not tail.rstrip(b"\0").endswith(b";")
    if head.startswith(b"RIFF"):
        return int.from_bytes(head[4:8], "little") + 8 > size
    if head.startswith(b"BM"):
        return int.from_bytes(head[2:6], "little") > size
    return _tiff_ends_early(head, size, image)


def _tiff_ends_early(head: bytes, size: int, image: Image.Image | None) -> bool:
    if len(head) < 8 or struct.unpack_from(">L" if head.startswith(b"MM\0*") else "<L", head, 4)[0] >= size:
        return True
    tags = getattr(image, "tag_v2", {})
    return any(
        offset + count > size
        for offsets, counts in (_STRIPS, _TILES)
        for offset, count in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
    )
