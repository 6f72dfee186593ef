"""Compressed frames: whether all of them are there, and which decoder takes them."""

import struct
from typing import Any, BinaryIO

import numpy as np
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.pixels.processing import convert_color_space

from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images.codestream import codestream_header, decode_jpeg

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


def check_fragments(stream: BinaryIO, offset: int, end: int, frames: int) -> None:
    """Raise Unreadable unless every fragment from `offset` on is whole and there is one for each frame."""
    fragments = -1  # the first item is the basic offset table
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
        position += 8 + length
        if position > end:
            raise Unreadable(Reason.TRUNCATED, "It ends within a frame. Copy it again from its source.")
        fragments += 1
    if fragments < frames:
        raise Unreadable(
            Reason.TRUNCATED,
            f"It holds {max(0, fragments)} fragments for {frames} frames. Copy it again from its source.",
        )


def decode_codestream(syntax: uid.UID, codestream: bytes, options: dict[str, Any]) -> tuple[np.ndarray, str]:
    """Return the stored values of one frame, (H, W) or (H, W, 3), and the colour space they are in.

    Raises Unreadable if the codestream is of another size than the header; else what the decoder raises.
    """
    header = codestream_header(codestream)
    if header is not None and (header.rows, header.columns) != (options["rows"], options["columns"]):
        raise Unreadable(
            Reason.MALFORMED,
            f"Its compressed frame is {header.rows} x {header.columns}, its header says "
            f"{options['rows']} x {options['columns']}. Export it again.",
        )
    if syntax in _LOSSLESS_JPEG or (syntax == uid.JPEGExtended12Bit and header and header.bits > 8):
        return _decode_by_libjpeg(codestream, options)
    adobe = header is not None and header.adobe and _PLUGINS[syntax] == "pillow"
    stored, properties = get_decoder(syntax).as_array(
        encapsulate([codestream], has_bot=False),
        index=0,
        decoding_plugin=_PLUGINS[syntax],
        # Pillow follows an Adobe marker to RGB by itself; pydicom would convert the result once more.
        **{**options, "as_rgb": not adobe},
    )
    return stored, "RGB" if adobe and stored.ndim == 3 else str(properties["photometric_interpretation"])


def _decode_by_libjpeg(codestream: bytes, options: dict[str, Any]) -> tuple[np.ndarray, str]:
    samples = decode_jpeg(codestream, options["samples_per_pixel"])
    if samples.shape[:2] != (options["rows"], options["columns"]):
        raise Unreadable(Reason.MALFORMED, "Its compressed frame is of another size than its header.")
    samples = _without_unused_bits(samples, options)
    photometric = str(options["photometric_interpretation"])
    if samples.ndim == 3 and photometric.startswith("YBR_FULL"):
        return convert_color_space(samples, "YBR_FULL", "RGB"), "RGB"
    return samples, photometric


def _without_unused_bits(samples: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """Return the samples as signed as the header says, their highest stored bit taken as the sign."""
    if options["pixel_representation"] == 1:
        samples = samples.view(f"i{samples.dtype.itemsize}")
    unused = max(0, 8 * samples.dtype.itemsize - int(options["bits_stored"]))
    return (samples << unused) >> unused
