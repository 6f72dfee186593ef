"""What a compressed frame says of itself, read before a decoder allocates for it; and the rarer JPEGs."""

import struct
from dataclasses import dataclass

import imagecodecs
import numpy as np

from medsiglip_search.errors import Reason, Unreadable


@dataclass(frozen=True, slots=True)
class CodestreamHeader:
    """What a JPEG, JPEG-LS or JPEG 2000 codestream declares.

    bits: of one sample.
    adobe: it has Adobe's marker, which says in which colour space the samples are.
    """

    rows: int
    columns: int
    components: int
    bits: int
    adobe: bool = False


def codestream_header(data: bytes) -> CodestreamHeader | None:
    """Return the declared size, or None where the bytes are of another kind or do not say.

    Raises Unreadable for a JP2 file whose boxes do not lead to a codestream.
    """
    if data.startswith(b"\x00\x00\x00\x0cjP  "):
        data = data[_jp2_codestream_start(data) :]
    if data.startswith(b"\xff\x4f\xff\x51"):
        return _jpeg2000_header(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_header(data)
    return None


def decode_jpeg(data: bytes, components: int) -> np.ndarray:
    """Return the samples of a lossless or 12-bit JPEG, (H, W) or (H, W, 3), in the colour space they have.

    libjpeg-turbo takes every predictor and precision. Of the decoders behind pydicom, none takes 12 bits,
    and the one that takes lossless JPEG ends the whole process on a damaged one.
    """
    colour_space = "RGB" if components == 3 else None  # to RGB from RGB is to leave them as they are
    return imagecodecs.jpeg8_decode(data, colorspace=colour_space, outcolorspace=colour_space)


def _jp2_codestream_start(data: bytes) -> int:
    position = 12
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, position)
        if kind == b"jp2c":
            return position + 8
        # pydicom follows the lengths without end if one is 0.
        if length < 8:
            break
        position += length
    raise Unreadable(Reason.MALFORMED, "The boxes of its JPEG 2000 are damaged. Export it again.")


def _jpeg2000_header(data: bytes) -> CodestreamHeader | None:
    # SIZ: Rsiz, Xsiz, Ysiz, XOsiz, YOsiz, the tile's four, Csiz, Ssiz (ISO 15444-1 A.5.1)
    if len(data) < 43:
        return None
    x_size, y_size, x_offset, y_offset = struct.unpack_from(">4L", data, 8)
    (components,) = struct.unpack_from(">H", data, 40)
    return CodestreamHeader(y_size - y_offset, x_size - x_offset, components, (data[42] & 0x7F) + 1)


def _jpeg_header(data: bytes) -> CodestreamHeader | None:
    position, adobe = 2, False
    while position + 10 <= len(data):
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFFFF:  # a fill byte
            position += 1
            continue
        if _starts_frame(marker):
            bits, rows, columns, components = struct.unpack_from(">BHHB", data, position + 4)
            # Rows of 0 are given later, by a DNL marker.
            return CodestreamHeader(rows, columns, components, bits, adobe) if rows else None
        adobe = adobe or (marker == 0xFFEE and data[position + 4 : position + 9] == b"Adobe")
        if marker < 0xFFC0 or marker == 0xFFDA:
            return None
        position += 2 + length
    return None


def _starts_frame(marker: int) -> bool:
    return marker == 0xFFF7 or (0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC))
