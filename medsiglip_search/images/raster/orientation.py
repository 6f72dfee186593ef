"""Which way is up: EXIF orientation."""

import struct

import numpy as np

_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4
_ENTRY_BYTES = 12


def exif_orientation(exif: bytes) -> int:
    """Return the orientation, 1..8, that EXIF data give; 1 where they are damaged or say nothing.

    Of all that EXIF can hold, nothing else is looked at: damage there is no reason to lose the picture.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return 1
    (directory,) = struct.unpack_from(f"{order}L", exif, 4)
    entries = exif[directory + 2 :]
    count = int.from_bytes(exif[directory : directory + 2], "little" if order == "<" else "big")
    for place in range(0, min(count * _ENTRY_BYTES, len(entries) - _ENTRY_BYTES + 1), _ENTRY_BYTES):
        tag, kind, _ = struct.unpack_from(f"{order}HHL", entries, place)
        if tag == _ORIENTATION and kind in (_SHORT, _LONG):
            # Some writers take the longer type.
            letter = "H" if kind == _SHORT else "L"
            return valid_orientation(struct.unpack_from(f"{order}{letter}", entries, place + 8)[0])
    return 1


def valid_orientation(value: int) -> int:
    """Return the value if it is an orientation, 1..8, else 1."""
    return value if value in range(1, 9) else 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return the pixels turned and mirrored as EXIF orientation 1..8 asks (CIPA DC-008, 4.6.4)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
