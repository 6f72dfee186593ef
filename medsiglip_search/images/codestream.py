"""What a compressed frame says of itself, read before a decoder allocates for it; and the rarer JPEGs."""

import struct
from dataclasses import dataclass

import imagecodecs
import numpy as np

from medsiglip_search.errors import Reason, Unreadable

_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
_JXL_CONTAINER = b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"


@dataclass(frozen=True, slots=True)
class CodestreamHeader:
    """What a JPEG, JPEG-LS, JPEG 2000 or JPEG XL codestream declares.

    components, bits: of a pixel and of one of its samples; 0 for JPEG XL, which says so further on.
    least_bytes: that a codestream of this size has; with fewer it holds no more than a part of the picture.
    adobe: it has Adobe's marker, which says in which colour space the samples are.
    rgb: it has no marker that does, but its components are named R, G and B.
    """

    rows: int
    columns: int
    components: int
    bits: int
    least_bytes: int = 0
    adobe: bool = False
    rgb: bool = False


def codestream_header(data: bytes) -> CodestreamHeader | None:
    """Return the declared size, or None where the bytes are of another kind or do not say.

    Raises Unreadable for a JP2 file whose boxes do not lead to a codestream.
    """
    data = without_jp2_boxes(data)
    if data.startswith(b"\xff\x4f\xff\x51"):
        return _jpeg2000_header(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_header(data)
    if data.startswith(_JXL_CONTAINER):
        return _jpeg_xl_header(_jpeg_xl_codestream(data))
    if data.startswith(b"\xff\x0a"):
        return _jpeg_xl_header(data)
    return None


def without_jp2_boxes(data: bytes) -> bytes:
    """Return a JPEG 2000 codestream out of its JP2 file, and any other bytes as they are.

    Raises Unreadable for a JP2 file whose boxes do not lead to a codestream.
    """
    return data[_jp2_codestream_start(data) :] if data.startswith(_JP2_SIGNATURE) else data


def decode_jpeg(data: bytes, components: int) -> np.ndarray:
    """Return the samples of a JPEG of any kind, (H, W) or (H, W, 3), in the colour space they have.

    libjpeg-turbo takes every predictor and precision. Of the decoders behind pydicom, none takes 12 bits,
    and the one that takes lossless JPEG ends the whole process on a damaged one.
    Raises Unreadable if it has no end, which libjpeg would make up for with samples of its own. A codestream
    that lacks a part before its end, or whose bytes are damaged, is not told from a whole one.
    """
    if b"\xff\xd9" not in data:  # never within the samples
        raise Unreadable(Reason.MALFORMED, "Its JPEG ends early. Export it again.")
    colour_space = "RGB" if components == 3 else None  # to RGB from RGB is to leave them as they are
    return imagecodecs.jpeg8_decode(data, colorspace=colour_space, outcolorspace=colour_space)


def lacks_tiles(data: bytes) -> bool:
    """Tell whether a JPEG 2000 codestream of several tiles lacks one, which OpenJPEG leaves black."""
    data = without_jp2_boxes(data)
    tiles = _jpeg2000_tiles(data)
    if tiles == 1:
        return False
    position, found = 2, set()
    while position + 12 <= len(data):
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFFD9:
            break
        if marker == 0xFF90:  # SOT: which tile, and the length of this part of it; 0 for what is left
            tile, part = struct.unpack_from(">HL", data, position + 4)
            found.add(tile)
            if part < 12:
                break
            position += part
        else:
            position += 2 + length
    return len(found) < tiles


def decode_jpeg_xl(data: bytes) -> np.ndarray:
    """Return the samples of a JPEG XL, (H, W) or (H, W, 3) RGB; a recompressed JPEG among them.

    Raises Unreadable if it does not say its size, which is what bounds the memory it takes.
    """
    if codestream_header(data) is None:
        raise Unreadable(Reason.MALFORMED, "Its compressed frame is no JPEG XL. Export it again.")
    return imagecodecs.jpegxl_decode(data, index=0)


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
    bits = (data[42] & 0x7F) + 1
    return CodestreamHeader(y_size - y_offset, x_size - x_offset, components, bits)


def _jpeg2000_tiles(data: bytes) -> int:
    x_size, y_size, x_offset, y_offset, width, height, tile_x, tile_y = struct.unpack_from(">8L", data, 8)
    if not width or not height or tile_x > x_offset or tile_y > y_offset:
        raise Unreadable(Reason.MALFORMED, "The tiles of its JPEG 2000 are damaged. Export it again.")
    return -((tile_x - x_size) // width) * -((tile_y - y_size) // height)


def _jpeg_xl_codestream(data: bytes) -> bytes:
    """Return the beginning of the codestream in a container's first box that holds some of it."""
    position = len(_JXL_CONTAINER)
    while position + 16 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, position)
        head = 8
        if length == 1:  # the length follows, in 8 bytes
            (length,) = struct.unpack_from(">Q", data, position + 8)
            head = 16
        if kind in (b"jxlc", b"jxlp"):
            start = position + head + (4 if kind == b"jxlp" else 0)  # jxlp begins with its number
            return data[start : start + 16]
        if length < head:
            break
        position += length
    raise Unreadable(Reason.MALFORMED, "The boxes of its JPEG XL are damaged. Export it again.")


def _jpeg_xl_header(data: bytes) -> CodestreamHeader | None:
    """Read SizeHeader (ISO 18181-1), whose bits are packed from the lowest on."""
    if len(data) < 12:
        return None
    bits = int.from_bytes(data[2:16], "little")

    def take(count: int) -> int:
        nonlocal bits
        number, bits = bits & (1 << count) - 1, bits >> count
        return number

    def length(in_eights: int) -> int:
        return 8 * (1 + take(5)) if in_eights else 1 + take((9, 13, 18, 30)[take(2)])

    in_eights = take(1)
    rows = length(in_eights)
    ratio = take(3)
    if ratio:
        across, down = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
        return CodestreamHeader(rows, rows * across // down, 0, 0)
    return CodestreamHeader(rows, length(in_eights), 0, 0)


def _jpeg_header(data: bytes) -> CodestreamHeader | None:
    position, adobe, jfif = 2, False, False
    while position + 10 <= len(data):
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFFFF:  # a fill byte
            position += 1
            continue
        if _starts_frame(marker):
            bits, rows, columns, components = struct.unpack_from(">BHHB", data, position + 4)
            # Rows of 0 are given later, by a DNL marker.
            if not rows:
                return None
            least = _least_jpeg_bytes(marker, rows, columns, components)
            named_rgb = data[position + 10 : position + 19 : 3] == b"RGB" and components == 3
            rgb = named_rgb and not adobe and not jfif
            return CodestreamHeader(rows, columns, components, bits, least, adobe, rgb)
        adobe = adobe or (marker == 0xFFEE and data[position + 4 : position + 9] == b"Adobe")
        jfif = jfif or (marker == 0xFFE0 and data[position + 4 : position + 8] == b"JFIF")
        if marker < 0xFFC0 or marker == 0xFFDA:
            return None
        position += 2 + length
    return None


def _least_jpeg_bytes(marker: int, rows: int, columns: int, components: int) -> int:
    """Huffman codes take at least one bit: for each block of 8 x 8, or without loss for each sample."""
    if marker in (0xFFC3, 0xFFC7):
        return rows * columns * components // 8
    if 0xFFC0 <= marker <= 0xFFC6:
        return -(-rows // 8) * -(-columns // 8) // 8
    return 0


def _starts_frame(marker: int) -> bool:
    return marker == 0xFFF7 or (0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC))
