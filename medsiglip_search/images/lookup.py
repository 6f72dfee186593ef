"""Lookup tables as DICOM writes them: modality, VOI and palette (PS3.3 C.11.1.1, C.11.2.1, C.7.6.3.1.5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


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

        A table that exceeds the bits it declares is taken at its word about the entries instead.
        """
        full = max(1, 2**bits - 1, int(self.entries.max()))
        return LookupTable(self.first, np.rint(self.entries * (255.0 / full)).astype(np.uint8))


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
