"""Lookup tables as DICOM writes them: modality, VOI and palette (PS3.3 C.11.1.1, C.11.2.1, C.7.6.3.1.5)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_MOST_ENTRIES = 2**16
# The kinds of segments.
_DISCRETE, _LINEAR, _INDIRECT = range(3)


@dataclass(frozen=True, slots=True)
class LookupTable:
    """One output for each input from `first` on; inputs outside take the nearest end.

    entries: (N,) unsigned integers.
    """

    first: int
    entries: np.ndarray

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return the outputs for an array of inputs, in its shape; fractions round to the nearest input."""
        if values.dtype.kind == "f":
            values = np.rint(np.nan_to_num(values, nan=self.first))
            values = np.clip(values, self.first, self.first + len(self.entries) - 1)
        # Every index must be representable after the subtraction.
        index: npt.NDArray[np.signedinteger] = values.astype(
            np.int64 if values.dtype.itemsize > 2 else np.int32
        )
        index -= self.first
        np.clip(index, 0, len(self.entries) - 1, out=index)
        return self.entries[index]

    def as_levels(self, bits: int) -> "LookupTable":
        """Return the table with its outputs of `bits` bits scaled to uint8.

        A table that exceeds the bits it declares, or declares more than DICOM has, is taken at its word
        about the entries instead.
        """
        full = max(1, 2**bits - 1 if bits <= 16 else 0, int(self.entries.max()))
        return LookupTable(self.first, np.rint(self.entries * (255.0 / full)).astype(np.uint8))


def lut_descriptor(descriptor: Iterable[int], signed: bool) -> tuple[int, int, int]:
    """Return the number of entries, the first input and the output bits (PS3.3 C.11.1.1.1).

    signed: the inputs are; then the first one is too, whatever the element's own type.
    """
    count, first, bits = (int(number) & 0xFFFF for number in descriptor)
    return count or _MOST_ENTRIES, first - 2**16 if signed and first >= 2**15 else first, bits


def read_entries(data: bytes | int | Sequence[int], count: int, big_endian: bool) -> np.ndarray:
    """Return (count,) uint8 or uint16 entries of LUT Data, given as bytes (OW) or numbers (US).

    Raises ValueError if there are fewer.
    """
    if isinstance(data, bytes):
        return _entries_of_bytes(data, count, big_endian)
    numbers = np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF
    if len(numbers) >= count:
        return numbers[:count].astype(np.uint16)
    return _entries_of_bytes(numbers.astype("<u2").tobytes(), count, big_endian=False)


def _entries_of_bytes(data: bytes, count: int, big_endian: bool) -> np.ndarray:
    if len(data) >= 2 * count:
        return np.frombuffer(data[: 2 * count], dtype=">u2" if big_endian else "<u2").astype(np.uint16)
    if len(data) < count:
        raise ValueError(f"{count} entries do not fit in {len(data)} bytes")
    # Two entries of 8 bits share a word, the first in its low byte.
    packed = np.frombuffer(data[: len(data) // 2 * 2], dtype=np.uint8) if big_endian else None
    if packed is not None and len(packed) >= count:
        return packed.reshape(-1, 2)[:, ::-1].reshape(-1)[:count].copy()
    return np.frombuffer(data[:count], dtype=np.uint8)


def read_segments(data: bytes, count: int, bits: int, big_endian: bool) -> np.ndarray:
    """Return (count,) uint8 or uint16 entries of a segmented palette (PS3.3 C.7.9.2).

    bits: of one entry. Raises ValueError for segments that are not whole or make more entries than any
    palette has.
    """
    words = np.frombuffer(data[: len(data) // 2 * 2], dtype=">u2" if big_endian else "<u2").astype("<u2")
    numbers = words.view(np.uint8) if bits <= 8 else words
    entries: list[int] = []
    _expand(numbers.tolist(), 0, None, entries, 4 if bits <= 8 else 2)
    if len(entries) < count:
        raise ValueError(f"{count} entries, but segments for {len(entries)}")
    return np.array(entries[:count], dtype=numbers.dtype.newbyteorder("="))


def _expand(numbers: list[int], place: int, segments: int | None, entries: list[int], width: int) -> None:
    """Add the entries of so many segments from `place` on, of all if None.

    width: of the offset in an indirect segment, in numbers.
    """
    nested = segments is not None
    while place + 2 < len(numbers) and segments != 0:
        kind, length = numbers[place : place + 2]
        place += 2
        if kind not in (_DISCRETE, _LINEAR, _INDIRECT) or length == 0 or (kind == _INDIRECT and nested):
            raise ValueError(f"a segment of kind {kind} and length {length}")
        if kind != _INDIRECT and len(entries) + length > _MOST_ENTRIES:
            raise ValueError("more entries than a palette can have")
        if kind == _DISCRETE:
            entries += numbers[place : place + length]
            place += length
        elif kind == _LINEAR:
            line = np.linspace(entries[-1], numbers[place], length + 1)[1:]
            entries += np.rint(line).astype(int).tolist()
            place += 1
        else:
            # In bytes, the lowest first; it says where segments to repeat begin.
            parts = enumerate(numbers[place : place + width])
            offset = sum(part << (32 // width * position) for position, part in parts)
            _expand(numbers, offset * width // 4, length, entries, width)
            place += width
        segments = None if segments is None else segments - 1
