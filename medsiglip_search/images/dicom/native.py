"""Uncompressed frames of the usual layouts, read without a decoder."""

import math
from typing import Any, BinaryIO

import numpy as np

_PLAIN = {("MONOCHROME1", 1), ("MONOCHROME2", 1), ("PALETTE COLOR", 1), ("RGB", 3)}


def is_plain(options: dict[str, Any], big_endian: bool) -> bool:
    """Tell whether the samples of a frame lie one after the other, in whole bytes and in their final colours.

    options: of pixel_options.
    """
    bits = options["bits_allocated"]
    return (
        options["pixel_keyword"] == "PixelData"
        and (str(options["photometric_interpretation"]), options["samples_per_pixel"]) in _PLAIN
        and options["planar_configuration"] in (0, 1)
        and options.get("pixel_representation") in (0, 1)
        # Big endian swaps the bytes of 8-bit samples that are written as words.
        and bits in ((16, 32) if big_endian else (8, 16, 32))
        and 1 <= options["bits_stored"] <= bits
    )


def read_plain(stream: BinaryIO, frame: int, options: dict[str, Any], big_endian: bool) -> np.ndarray:
    """Return stored values, (H, W) or (H, W, 3), of the stream that stands at the first frame.

    Raises ValueError if the frame is not whole.
    """
    size = plain_size(options)
    stream.seek(frame * size, 1)
    return plain_values(stream.read(size), options, big_endian)


def is_packed(options: dict[str, Any], big_endian: bool) -> bool:
    """Tell whether the samples of a frame are single bits, eight in a byte."""
    return (
        options["pixel_keyword"] == "PixelData"
        and (str(options["photometric_interpretation"]), options["samples_per_pixel"]) in _PLAIN
        and options["samples_per_pixel"] == options["bits_allocated"] == 1
        and not big_endian
    )


def read_packed(stream: BinaryIO, frame: int, options: dict[str, Any]) -> np.ndarray:
    """Return (H, W) uint8 of 0 and 1, of the stream that stands at the first frame.

    A frame begins at the bit after the last one's (PS3.5 8.1.1); pydicom misses the last byte of some.
    Raises ValueError if the frame is not whole.
    """
    rows, columns = int(options["rows"]), int(options["columns"])
    start, skipped = divmod(frame * rows * columns, 8)
    stream.seek(start, 1)
    data = np.frombuffer(stream.read(math.ceil((skipped + rows * columns) / 8)), np.uint8)
    bits = np.unpackbits(data, bitorder="little")[skipped : skipped + rows * columns]
    return bits.reshape(rows, columns)


def plain_size(options: dict[str, Any]) -> int:
    """Return the bytes of one frame."""
    bits: int = (
        options["rows"] * options["columns"] * options["samples_per_pixel"] * options["bits_allocated"]
    )
    return bits // 8


def plain_values(data: bytes | bytearray, options: dict[str, Any], big_endian: bool = False) -> np.ndarray:
    """Return stored values, (H, W) or (H, W, 3), of the bytes of one frame, in whose memory they may be.

    Raises ValueError if the frame is not whole.
    """
    kind = "i" if options["pixel_representation"] == 1 else "u"
    dtype = np.dtype(f"{'>' if big_endian else '<'}{kind}{options['bits_allocated'] // 8}")
    rows, columns, samples = (options[name] for name in ("rows", "columns", "samples_per_pixel"))
    stored = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)
    if options["unused_low_bits"]:
        stored = stored >> options["unused_low_bits"]
    if samples == 1:
        return without_unused_bits(stored.reshape(rows, columns), options["bits_stored"])
    if options["planar_configuration"] == 1:
        stored = stored.reshape(samples, rows, columns).transpose(1, 2, 0)
    return without_unused_bits(stored.reshape(rows, columns, samples), options["bits_stored"])


def without_unused_bits(stored: np.ndarray, bits: int) -> np.ndarray:
    """Return integers whose bits above the lowest `bits` are the sign's, or 0 (PS3.5 8.1.1)."""
    unused = 8 * stored.dtype.itemsize - bits
    if unused <= 0:
        return stored
    signed = stored.dtype.kind == "i"
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if stored.max() <= highest and stored.min() >= lowest:
        return stored
    shifted: np.ndarray = stored << unused
    shifted >>= unused
    return shifted
