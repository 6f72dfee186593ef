"""Compressed frames: where their bytes are, whether all are there, and which decoder takes them."""

import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, BinaryIO, cast

import numpy as np
from pydicom import uid
from pydicom.encaps import encapsulate, get_frame, parse_basic_offsets
from pydicom.pixels import get_decoder
from pydicom.pixels.processing import convert_color_space
from rle import decode_pixel_data as decode_rle

from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images.codestream import (
    CodestreamHeader,
    codestream_header,
    decode_jpeg,
    decode_jpeg_xl,
    lacks_tiles,
    without_jp2_boxes,
)
from medsiglip_search.images.dicom.native import is_plain, plain_size, plain_values, without_unused_bits

# One for each syntax, so that a picture does not depend on what else is installed. gdcm takes most of them
# too, but ends the whole process on some damaged files.
_PLUGINS = {
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
    uid.RLELossless: "pylibjpeg",
}
_LOSSLESS_JPEG = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
_LOSSLESS = (uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL)
JPEG_XL = ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112")
"""Lossless, recompressed JPEG, any; newer than pydicom's table (PS3.6 A)."""

# Frames that are each deflated, and otherwise uncompressed; as new.
_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"

COMPRESSED = frozenset((*_PLUGINS, *_LOSSLESS_JPEG, *JPEG_XL, _DEFLATED_FRAMES))
"""The transfer syntaxes of compressed frames that decode_codestream takes."""

_MAX_FRAGMENTS = 1_000_000

Fragment = tuple[int, int]
"""Offset in the stream and length, in bytes."""


def find_fragments(stream: BinaryIO, offset: int, end: int, frames: int) -> Sequence[Fragment]:
    """Return the fragments from `offset` on, without the basic offset table.

    Raises Unreadable unless every one is whole and there is one for each frame.
    """
    fragments: list[Fragment] = []
    position = offset
    while True:
        stream.seek(position)
        head = stream.read(8)
        if len(head) < 8:
            break
        group, number, length = struct.unpack("<HHL", head)
        if (group, number) == (0xFFFE, 0xE0DD):
            break
        if (group, number) != (0xFFFE, 0xE000):
            raise Unreadable(Reason.MALFORMED, "Its compressed fragments are out of order. Export it again.")
        if len(fragments) > _MAX_FRAGMENTS:
            raise Unreadable(Reason.MALFORMED, "Its frames are in more pieces than any writer makes.")
        fragments.append((position + 8, length))
        position += 8 + length
        if position > end:
            raise Unreadable(Reason.TRUNCATED, "It ends within a frame. Copy it again from its source.")
    del fragments[:1]  # the basic offset table
    if len(fragments) < frames:
        raise Unreadable(
            Reason.TRUNCATED,
            f"It holds {len(fragments)} fragments for {frames} frames. Copy it again from its source.",
        )
    return fragments


def read_codestream(
    stream: BinaryIO, frame: int, fragments: Sequence[Fragment], options: dict[str, Any]
) -> bytes:
    """Return one frame, still compressed, of the stream that stands at the basic offset table.

    Raises Unreadable if the frame takes an offset table to find, and the table goes back.
    """
    frames = int(options["number_of_frames"])
    if len(fragments) == frames or frames == 1:
        parts = []
        for offset, length in fragments if frames == 1 else fragments[frame : frame + 1]:
            stream.seek(offset)
            parts.append(stream.read(length))
        return b"".join(parts)
    # Which fragments are one frame takes the offset tables, or a look into the codestreams.
    extended = options.get("extended_offsets")
    _check_offsets(stream, extended)
    return get_frame(stream, frame, number_of_frames=frames, extended_offsets=extended)


def _check_offsets(stream: BinaryIO, extended: tuple[bytes, bytes] | None) -> None:
    """Raise Unreadable unless each frame begins after the one before it."""
    start = stream.tell()
    offsets = np.frombuffer(extended[0], "<u8").tolist() if extended else parse_basic_offsets(stream)
    stream.seek(start)
    if any(later <= earlier for earlier, later in pairwise(offsets)):
        raise Unreadable(Reason.MALFORMED, "Its table of frames is out of order. Export it again.")


def decode_codestream(syntax: uid.UID, codestream: bytes, options: dict[str, Any]) -> tuple[np.ndarray, str]:
    """Return the stored values of one frame, (H, W) or (H, W, 3), and the colour space they are in.

    Raises Unreadable if the codestream is of another size than the header; else what the decoder raises.
    """
    if syntax == _DEFLATED_FRAMES:
        return _inflated(codestream, options)
    header = codestream_header(codestream)
    if header is not None:
        _check(syntax, codestream, header, options)
    if syntax in JPEG_XL:
        return _decode_jpeg_xl(codestream, options)
    if syntax in _LOSSLESS_JPEG or (syntax == uid.JPEGExtended12Bit and header and header.bits > 8):
        return _decode_jpeg(codestream, options)
    if syntax == uid.RLELossless and is_plain(options, big_endian=False):
        return _decode_rle(codestream, options), str(options["photometric_interpretation"])
    if syntax in _JPEG_2000 and str(options["photometric_interpretation"]).startswith("YBR_FULL"):
        # OpenJPEG follows the boxes to RGB by itself; pydicom would convert the result once more.
        codestream = without_jp2_boxes(codestream)
    if header is not None and _PLUGINS[syntax] == "pillow" and header.rgb:
        # Pillow refuses to leave them as they are.
        return _as_stored(decode_jpeg(codestream, options["samples_per_pixel"]), options), "RGB"
    adobe = header is not None and _PLUGINS[syntax] == "pillow" and header.adobe
    stored, colour_space = _decode_by_pydicom(syntax, codestream, options, as_rgb=not adobe)
    return stored, "RGB" if adobe and stored.ndim == 3 else colour_space


def _check(syntax: uid.UID, codestream: bytes, header: CodestreamHeader, options: dict[str, Any]) -> None:
    """Raise Unreadable if the codestream is of another size than the header, or lacks a part."""
    if (header.rows, header.columns) != (options["rows"], options["columns"]):
        raise Unreadable(
            Reason.MALFORMED,
            f"Its compressed frame is {header.rows} x {header.columns}, its header says "
            f"{options['rows']} x {options['columns']}. Export it again.",
        )
    if len(codestream) < header.least_bytes:
        raise Unreadable(
            Reason.MALFORMED, "Its compressed frame is too short for its pixels. Export it again."
        )
    if syntax in _JPEG_2000 and lacks_tiles(codestream):
        raise Unreadable(
            Reason.MALFORMED, "Its compressed frame lacks a part of the picture. Export it again."
        )


def _decode_by_pydicom(
    syntax: uid.UID, codestream: bytes, options: dict[str, Any], as_rgb: bool
) -> tuple[np.ndarray, str]:
    """Return the stored values and their colour space.

    as_rgb: luminance and chroma are converted; not so where the decoder already did.
    """
    stored, properties = get_decoder(syntax).as_array(
        encapsulate([codestream], has_bot=False),
        index=0,
        decoding_plugin=_PLUGINS[syntax],
        **{**options, "number_of_frames": 1, "extended_offsets": None, "as_rgb": as_rgb},
    )
    # The codestream may have more bits than are stored, the upper ones of an overlay or without the sign.
    # Lossy values may overshoot their bits, and white would turn black; but signed ones of which none is
    # negative lack the sign.
    cut_off = syntax in _LOSSLESS or (stored.dtype.kind == "i" and stored.min() >= 0)
    if stored.ndim == 2 and cut_off:
        stored = without_unused_bits(stored, options["bits_stored"])
    return stored, str(properties["photometric_interpretation"])


def _decode_jpeg(codestream: bytes, options: dict[str, Any]) -> tuple[np.ndarray, str]:
    samples = _as_stored(decode_jpeg(codestream, options["samples_per_pixel"]), options)
    photometric = str(options["photometric_interpretation"])
    if samples.ndim == 3 and photometric.startswith("YBR_FULL"):
        return convert_color_space(samples, "YBR_FULL", "RGB"), "RGB"
    return samples, photometric


def _decode_jpeg_xl(codestream: bytes, options: dict[str, Any]) -> tuple[np.ndarray, str]:
    samples = _as_stored(decode_jpeg_xl(codestream), options)
    # Its own colour transforms are undone in decoding, whichever they were.
    return samples, "RGB" if samples.ndim == 3 else str(options["photometric_interpretation"])


def _decode_rle(codestream: bytes, options: dict[str, Any]) -> np.ndarray:
    """Return what pydicom does by the same decoder; without its copies of large frames."""
    size = {name: options[name] for name in ("rows", "columns", "bits_allocated")}
    planes = cast(bytearray, decode_rle(codestream, version=2, **size))
    return plain_values(planes, {**options, "planar_configuration": 1})


def _inflated(codestream: bytes, options: dict[str, Any]) -> tuple[np.ndarray, str]:
    """Return the samples of a frame that is an uncompressed one, deflated."""
    if not is_plain(options, big_endian=False):
        raise Unreadable(Reason.UNSUPPORTED_CODEC, "Its pixels are packed in a way that is not supported.")
    needed = plain_size(options)
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(codestream, needed)
    if len(inflated) < needed:
        raise Unreadable(
            Reason.TRUNCATED, f"A frame inflates to {len(inflated)} of {needed} bytes. Export it again."
        )
    return plain_values(inflated, options), str(options["photometric_interpretation"])


def _as_stored(samples: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """Return the samples as signed as the header says, their highest stored bit taken as the sign.

    Raises Unreadable if they are of another number than the header says.
    """
    expected = (options["rows"], options["columns"])
    if samples.shape != (expected if options["samples_per_pixel"] == 1 else (*expected, 3)):
        raise Unreadable(Reason.MALFORMED, "Its compressed frame is of another size than its header.")
    if options["pixel_representation"] == 1:
        samples = samples.view(f"i{samples.dtype.itemsize}")
    return without_unused_bits(samples, int(options["bits_stored"]))
