"""JPEG: the segments that decoding needs, which way is up, and the picture."""

import io
import re
import struct
from typing import BinaryIO

import imagecodecs

from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images.codestream import codestream_header
from medsiglip_search.images.limits import check_frame
from medsiglip_search.images.raster.decoding import (
    Decoded,
    ends_early,
    malformed,
    open_pillow,
    read_all,
    truncated,
)
from medsiglip_search.images.raster.orientation import exif_orientation
from medsiglip_search.images.raster.pixels import Samples

# ITU-T T.81, table B.1
_END, _SCAN = 0xD9, 0xDA
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA)
# Hierarchical and lossless arithmetic ones, and JPEG-LS.
_UNSUPPORTED_FRAMES = (0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7)
_EXIF = 0xE1
# Of the application segments, JFIF's and Adobe's say in which colour space the samples are.
_METADATA = (*range(0xE1, 0xEE), 0xEF, 0xFE)

_MARKER = re.compile(rb"\xff+([^\0\xff])")
_MAX_SEGMENTS = 20_000


class JpegFile:
    """An open JPEG file. One that holds several pictures is its first: the others are previews of it."""

    frame_count = 1

    def __init__(self, stream: BinaryIO) -> None:
        data = read_all(stream)
        self._incomplete = True
        self._exif = b""
        self._data = self._without_metadata(data)
        self._orientation = exif_orientation(self._exif)
        header = codestream_header(self._data)
        if header is None:
            raise malformed("its header is no picture's")
        check_frame(header.rows, header.columns, 16 * header.components if header.bits > 8 else 24)
        if len(self._data) < header.least_bytes:
            raise truncated() if self._incomplete else malformed("it has fewer bytes than its pixels need")
        self._components = header.components

    def decode(self, frame: int) -> Decoded:
        """Return the one picture; grey and colour of more than 8 bits as values."""
        with ends_early(self._incomplete):
            if self._components in (1, 3) and not self._incomplete:
                array = imagecodecs.jpeg8_decode(self._data)
                return Decoded(Samples(array, is_colour=array.ndim == 3), self._orientation)
            # Pillow knows how Adobe writes CMYK, and tells where the data end before the picture does.
            image = open_pillow(io.BytesIO(self._data), "JPEG")
            image.load()
            return Decoded(image, self._orientation)

    def _without_metadata(self, data: bytes) -> bytes:
        """Return the JPEG from its first scan on, and of what is before only what decoding needs."""
        kept, position, has_frame = [memoryview(data)[:2]], 2, False
        for _ in range(_MAX_SEGMENTS):
            found = _MARKER.search(data, position)
            if found is None or len(data) < found.end() + 2:
                raise truncated()
            start, position = found.end() - 2, found.end()
            marker = data[start + 1]
            if marker in _WITHOUT_LENGTH:
                continue
            if marker == _END or (marker == _SCAN and not has_frame):
                raise malformed("it holds no picture")
            if marker == _SCAN:
                # From here on: a preview among the segments before has an end of its own.
                self._incomplete = data.find(b"\xff\xd9", start) < 0
                return b"".join([*kept, memoryview(data)[start:]])
            position += struct.unpack_from(">H", data, position)[0]
            segment = memoryview(data)[start:position]
            if marker in _UNSUPPORTED_FRAMES:
                raise Unreadable(
                    Reason.UNSUPPORTED_CODEC,
                    "This kind of JPEG is not supported. Export it as baseline JPEG.",
                )
            has_frame = has_frame or marker in _FRAMES
            if marker == _EXIF and segment[4:10] == b"Exif\0\0" and not self._exif:
                self._exif = bytes(segment[4:])
            if marker not in _METADATA:
                kept.append(segment)
        raise malformed("its header has no end")
