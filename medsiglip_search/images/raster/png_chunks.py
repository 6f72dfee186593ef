"""The chunks of a PNG file that decoding needs; texts, profiles and other metadata are passed over."""

import io
import os
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

from medsiglip_search.images.limits import check_encoded, check_frame, check_pages
from medsiglip_search.images.raster.decoding import malformed, truncated
from medsiglip_search.images.raster.orientation import exif_orientation
from medsiglip_search.images.source import stream_size

# The most bytes that a chunk of each kind can need (PNG 3rd edition, 11); pixels have their own limit.
_MOST_BYTES = {b"IHDR": 13, b"PLTE": 768, b"tRNS": 256, b"acTL": 8, b"fcTL": 26, b"IEND": 0}
_SIGNATURE_BYTES, _HEAD_BYTES, _CRC_BYTES = 8, 8, 4
_MAX_CHUNKS = 1_000_000
_MAX_EXIF_BYTES = 1 << 20
# By colour type
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(slots=True)
class PngChunks:
    """What a PNG file says, and the file without what decoding does not need.

    declared_frames: of an animation; None for a still picture.
    frames: of an animation, as far as they are there.
    still_is_frame: whether the picture that is shown where there is no animation is one of its frames.
    """

    rows: int = 0
    columns: int = 0
    bits: int = 0
    colour_type: int = 0
    orientation: int = 1
    declared_frames: int | None = None
    frames: int = 0
    still_is_frame: bool = False
    has_pixels: bool = False
    is_complete: bool = False
    file: io.BytesIO = field(default_factory=io.BytesIO)


def read_chunks(stream: BinaryIO) -> PngChunks:
    """Return what a PNG file holds.

    Raises Unreadable for a picture that is too large, a header that is missing and chunks without end.
    """
    size = stream_size(stream)
    png = PngChunks()
    png.file.write(stream.read(_SIGNATURE_BYTES))
    for number in range(_MAX_CHUNKS):
        head = stream.read(_HEAD_BYTES)
        kind = head[4:]
        if number == 0 and kind != b"IHDR":
            raise malformed("it does not begin with its size") if len(kind) == 4 else truncated()
        # What follows a chunk of no possible name is no chunk; the decoder tells whether that is damage.
        if len(kind) < 4 or not kind.isalpha():
            png.is_complete = len(kind) == 4
            return png
        # A length may be beyond the file's end, and memory for it would be taken all the same.
        length = min(int.from_bytes(head[:4], "big") + _CRC_BYTES, size - stream.tell())
        _take(png, stream, head, length)
        if kind == b"IEND":
            png.is_complete = True
            return png
    raise malformed("it has too many parts")


def _take(png: PngChunks, stream: BinaryIO, head: bytes, length: int) -> None:
    """Read or pass over the chunk that begins with `head`; `length` is that of the rest."""
    kind = head[4:]
    if kind == b"eXIf":
        exif_length = min(length, _MAX_EXIF_BYTES)
        png.orientation = exif_orientation(stream.read(exif_length))
        stream.seek(length - exif_length, os.SEEK_CUR)
        return
    if not _is_needed(png, kind):
        stream.seek(length, os.SEEK_CUR)
        return
    if length > _MOST_BYTES.get(kind, length) + _CRC_BYTES:
        raise malformed("a part of it is longer than it can be")
    check_encoded(png.file.tell() + length)
    chunk = stream.read(length)
    _note(png, kind, chunk)
    png.file.write(head)
    png.file.write(chunk)


def _is_needed(png: PngChunks, kind: bytes) -> bool:
    if kind == b"acTL":
        return png.declared_frames is None and not png.has_pixels
    if kind in (b"fcTL", b"fdAT"):
        return png.declared_frames is not None
    return kind == b"IDAT" or kind in _MOST_BYTES


def _note(png: PngChunks, kind: bytes, chunk: bytes) -> None:
    if kind == b"IHDR":
        if len(chunk) < _MOST_BYTES[kind]:
            raise truncated()
        png.columns, png.rows, png.bits, png.colour_type = struct.unpack_from(">LLBB", chunk)
        deep_bits = 16 * _SAMPLES.get(png.colour_type, 4)
        check_frame(png.rows, png.columns, deep_bits if png.bits == 16 else 24)
    elif kind == b"acTL":
        png.declared_frames = int.from_bytes(chunk[:4], "big")
        check_pages(png.declared_frames)
    elif kind == b"fcTL":
        png.frames += 1
        check_pages(png.frames)
    elif kind == b"IDAT" and not png.has_pixels:
        png.has_pixels = True
        png.still_is_frame = png.frames > 0
