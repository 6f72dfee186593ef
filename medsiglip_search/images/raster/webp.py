"""WebP: its chunks, which way is up, and the pictures."""

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO

import imagecodecs
from PIL import Image

from medsiglip_search.images.limits import check_animation, check_frame, check_pages
from medsiglip_search.images.raster.decoding import Decoded, ends_early, malformed, open_pillow, read_all
from medsiglip_search.images.raster.orientation import exif_orientation
from medsiglip_search.images.raster.pixels import Samples

_RIFF_HEADER_BYTES = 12


class WebpFile:
    """An open WebP file; an animation's frames are as they look after the ones before them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._data = read_all(stream)
        self._incomplete = int.from_bytes(self._data[4:8], "little") + 8 > len(self._data)
        self._animation: Image.Image | None = None
        with ends_early(self._incomplete):
            chunks = _read_chunks(self._data)
        check_animation(chunks.frames, chunks.rows, chunks.columns)
        self._orientation = chunks.orientation
        self._is_animation = chunks.frames > 0
        self.frame_count = max(1, chunks.frames)

    def decode(self, frame: int) -> Decoded:
        """Return one frame."""
        with ends_early(self._incomplete):
            if self._is_animation:
                return Decoded(self._decode_animation(frame), self._orientation)
            # Pillow takes every picture for an animation, which costs four times the memory.
            array = imagecodecs.webp_decode(self._data)
            return Decoded(Samples(array, is_colour=True, has_alpha=array.shape[2] == 4), self._orientation)

    def _decode_animation(self, frame: int) -> Image.Image:
        # Kept open, so that frames read one after another are drawn once; dropped after an error.
        image, self._animation = self._animation or open_pillow(io.BytesIO(self._data), "WEBP"), None
        image.seek(frame)
        image.load()
        self._animation = image
        return image


@dataclass(slots=True)
class _Chunks:
    """rows, columns: of the canvas. frames: of an animation, 0 for a still picture."""

    rows: int = 0
    columns: int = 0
    frames: int = 0
    orientation: int = 1


def _read_chunks(data: bytes) -> _Chunks:
    """Raises Unreadable for what is too large or holds no picture, struct.error for what ends early."""
    chunks, position = _Chunks(), _RIFF_HEADER_BYTES
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sL", data, position)
        position += 8
        if kind in _SIZES and not chunks.rows:
            chunks.rows, chunks.columns = _SIZES[kind](data, position)
            check_frame(chunks.rows, chunks.columns, bits_per_pixel=24)
        elif kind == b"ANMF":
            chunks.frames += 1
            check_pages(chunks.frames)
        elif kind == b"EXIF":
            chunks.orientation = exif_orientation(data[position : position + length])
        position += length + length % 2  # padded to even
    if not chunks.rows:
        raise malformed("it holds no picture")
    return chunks


def _canvas_size(data: bytes, position: int) -> tuple[int, int]:
    # Each less one, in 24 bits
    columns, rows = data[position + 4 : position + 7], data[position + 7 : position + 10]
    return int.from_bytes(rows, "little") + 1, int.from_bytes(columns, "little") + 1


def _lossy_size(data: bytes, position: int) -> tuple[int, int]:
    # RFC 6386, 9.1: the upper two bits are a scale
    columns, rows = struct.unpack_from("<HH", data, position + 6)
    return rows & 0x3FFF, columns & 0x3FFF


def _lossless_size(data: bytes, position: int) -> tuple[int, int]:
    # RFC 9649, 3.4: after a signature byte, each less one, in 14 bits
    (packed,) = struct.unpack_from("<L", data, position + 1)
    return (packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1


_SIZES = {b"VP8X": _canvas_size, b"VP8 ": _lossy_size, b"VP8L": _lossless_size}
