"""Values to RGB where each pixel depends on its own value alone: through a table, or strip by strip."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Shades = Callable[[np.ndarray], Sequence[np.ndarray]]
"""(N,) values to (N,) uint8 levels: one array for grey, three for red, green and blue."""

_STRIP_PIXELS = 1 << 16


def rgb_of(values: np.ndarray, shades: Shades) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB of (H, W) values.

    shades: is asked for each of the values alone, in any order and number.
    """
    flat = values.reshape(-1)
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        low, high = int(flat.min()), int(flat.max())
        if high - low < flat.size:
            return _through_table(flat, low, high, shades).reshape(*values.shape, 3)
    pixels = np.empty((flat.size, 3), dtype=np.uint8)
    # In strips, so that a large picture takes no floating-point copy of itself.
    for start in range(0, flat.size, _STRIP_PIXELS):
        strip = slice(start, start + _STRIP_PIXELS)
        channels = shades(flat[strip])
        for channel in range(3):
            pixels[strip, channel] = channels[channel % len(channels)]
    return pixels.reshape(*values.shape, 3)


def _through_table(flat: np.ndarray, low: int, high: int, shades: Shades) -> np.ndarray:
    """Return (N, 3) uint8 of (N,) integers of 8 or 16 bits from `low` to `high`."""
    # Indexed by the bits of a value, so that negative ones need no offset.
    index_type = np.dtype(f"u{flat.dtype.itemsize}")
    inputs = np.arange(low, high + 1, dtype=flat.dtype.newbyteorder("="))
    size = high + 1 if low >= 0 else 256**index_type.itemsize
    table: npt.NDArray[np.uint32] = np.empty(size, dtype="<u4")
    table[inputs.view(index_type)] = _packed(shades(inputs))
    return _spread(table, flat.astype(inputs.dtype, copy=False).view(index_type))


def _packed(channels: Sequence[np.ndarray]) -> np.ndarray:
    """Return (N,) integers with red in the lowest byte, then green, then blue."""
    red, green, blue = (channels[channel % len(channels)].astype("<u4") for channel in range(3))
    return red | green << 8 | blue << 16


def _spread(table: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return (N, 3) uint8, the lower three bytes of the table's four for each index.

    Several times as fast as to write channel by channel: four bytes are written for each pixel, of which
    the next pixel overwrites the last.
    """
    buffer = np.empty(3 * indices.size + 1, dtype=np.uint8)
    pixels = np.ndarray((indices.size,), dtype="<u4", buffer=buffer.data, strides=(3,))
    for start in range(0, indices.size, _STRIP_PIXELS):
        strip = slice(start, start + _STRIP_PIXELS)
        # Any index is within the table; "wrap" spares numpy the check.
        pixels[strip] = table.take(indices[strip], mode="wrap")
    return buffer[:-1].reshape(-1, 3)
