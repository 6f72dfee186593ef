"""TIFF files of kinds that Pillow does not write."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Elsewhere:
    """Bytes that stand somewhere in the file already, or do not."""

    offset: int
    count: int


Values = int | float | bytes | Sequence[int] | Elsewhere
_KINDS = {"H": 3, "L": 4, "f": 11, "Q": 16}


@dataclass
class Page:
    """tags: whole numbers (SHORT below 65536, else LONG), a real number, or text. pieces: strips or tiles."""

    tags: dict[int, Values]
    pieces: list[bytes] = field(default_factory=list)


def page(
    values: np.ndarray, order: str = "<", planar: bool = False, tags: Mapping[int, Values] | None = None
) -> Page:
    """Return an uncompressed page of (H, W) or (H, W, N) values, in one strip, or one for each plane."""
    rows, columns = values.shape[:2]
    samples = values.shape[2] if values.ndim == 3 else 1
    ordered = values.astype(values.dtype.newbyteorder(order))
    planes = [ordered[..., n] for n in range(samples)] if planar else [ordered]
    own: dict[int, Values] = {
        256: columns, 257: rows, 258: [8 * values.dtype.itemsize] * samples, 259: 1,
        262: 2 if samples >= 3 else 1, 277: samples, 278: rows, 284: 2 if planar else 1,
        339: [{"u": 1, "i": 2, "f": 3}[values.dtype.kind]] * samples,
    }  # fmt: skip
    return Page(own | dict(tags or {}), [plane.tobytes() for plane in planes])


def packed_12_bit(values: np.ndarray) -> Page:
    """Return a page of (H, W) values below 4096, two of them in three bytes; W is even."""
    first, second = values[:, ::2], values[:, 1::2]
    triples = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
    this = page(values, tags={258: 12})
    this.pieces = [triples.astype(np.uint8).tobytes()]
    return this


def tiff(*pages: Page, order: str = "<", big: bool = False, last_points_to: int | None = None) -> bytes:
    """Return a file of these pages.

    last_points_to: the page whose directory follows the last one's; none does by default.
    """
    offset_format, place_bytes = ("Q", 8) if big else ("L", 4)
    mark = b"II" if order == "<" else b"MM"
    header = struct.pack(f"{order}2sHHH", mark, 43, 8, 0) if big else struct.pack(f"{order}2sH", mark, 42)
    file = bytearray(header)
    link, starts = len(file), []
    file += bytes(place_bytes)
    for this in pages:
        tags = dict(this.tags)
        if this.pieces:
            offsets_tag, bytes_tag = (324, 325) if 322 in tags else (273, 279)
            offsets = []
            for piece in this.pieces:
                offsets.append(len(file))
                file += piece
            tags = {offsets_tag: offsets, bytes_tag: [len(piece) for piece in this.pieces]} | tags
        entries = b""
        for tag, values in sorted(tags.items()):
            if isinstance(values, Elsewhere):
                kind, count, data = 7, values.count, struct.pack(f"{order}{offset_format}", values.offset)
            else:
                kind, count, data = _encoded(values, order)
            if len(data) > place_bytes:
                outside, data = data, struct.pack(f"{order}{offset_format}", len(file))
                file += outside
            entries += struct.pack(f"{order}HH{offset_format}", tag, kind, count)
            entries += data.ljust(place_bytes, b"\0")
        starts.append(len(file))
        struct.pack_into(f"{order}{offset_format}", file, link, len(file))
        file += struct.pack(f"{order}{'Q' if big else 'H'}", len(tags)) + entries
        link = len(file)
        file += bytes(place_bytes)
    if last_points_to is not None:
        struct.pack_into(f"{order}{offset_format}", file, link, starts[last_points_to])
    return bytes(file)


def _encoded(values: int | float | bytes | Sequence[int], order: str) -> tuple[int, int, bytes]:
    if isinstance(values, bytes):
        return 2, len(values) + 1, values + b"\0"
    if isinstance(values, float):
        return 11, 1, struct.pack(f"{order}f", values)
    numbers = [values] if isinstance(values, int) else list(values)
    letter = "H" if max(numbers) < 2**16 else "L" if max(numbers) < 2**32 else "Q"
    return _KINDS[letter], len(numbers), struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
