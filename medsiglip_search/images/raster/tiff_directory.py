"""The directories of a TIFF file: where its pages are, and what they say (TIFF 6.0, section 2; BigTIFF)."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, Literal

import numpy as np

from medsiglip_search.images.limits import check_pages
from medsiglip_search.images.raster.decoding import malformed, truncated
from medsiglip_search.images.source import stream_size

LONG, LONG8 = 4, 16
_DTYPES = {1: "u1", 2: "u1", 3: "u2", LONG: "u4", 7: "u1", 11: "f4", 13: "u4", LONG8: "u8"}
_RATIONAL = 5
VALUE_BYTES = {kind: np.dtype(dtype).itemsize for kind, dtype in _DTYPES.items()} | {_RATIONAL: 8}
"""Of one value of each type that is needed here."""

# Of directories that overlap there can be more than the file is long.
_MAX_ENTRIES = 65_535
_MAX_ENTRIES_OF_ALL = 4_000_000


class TiffSource:
    """The bytes of a TIFF file, and how it writes numbers.

    order: "<" or ">", as struct has it.
    offset_format, count_format, entry_format: struct's of an offset, of a directory's number of entries, and
        of an entry: tag, type, count, and the values or their offset.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = stream_size(stream)
        head = self.read_at(0, min(16, self.size))
        self.order: Literal["<", ">"] = "<" if head.startswith(b"II") else ">"
        is_big = b"+" in head[2:4]
        self.offset_format = f"{self.order}{'Q' if is_big else 'L'}"
        self.count_format = f"{self.order}{'Q' if is_big else 'H'}"
        self.entry_format = f"{self.order}{'HHQ8s' if is_big else 'HHL4s'}"
        self.first_place = 8 if is_big else 4
        if len(head) < 2 * self.first_place:
            raise truncated()
        (self.first_directory,) = struct.unpack_from(self.offset_format, head, self.first_place)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from a place in the file; raises Unreadable if there are fewer."""
        if offset + size > self.size:
            raise truncated()
        self._stream.seek(offset)
        return self._stream.read(size)


class Directory:
    """One page: its tags, each read when it is asked for.

    offset, next_offset: in the file, of this one and the one after it; 0 after the last.
    entry_count: as declared; a tag that comes twice counts twice.
    Raises Unreadable where it is not within the file.
    """

    def __init__(self, source: TiffSource, offset: int) -> None:
        self.source = source
        self.offset = offset
        count_bytes = struct.calcsize(source.count_format)
        (self.entry_count,) = struct.unpack(source.count_format, source.read_at(offset, count_bytes))
        if self.entry_count > _MAX_ENTRIES:
            raise malformed("one of its directories is longer than it can be")
        size = self.entry_count * struct.calcsize(source.entry_format)
        data = source.read_at(offset + count_bytes, size + struct.calcsize(source.offset_format))
        (self.next_offset,) = struct.unpack_from(source.offset_format, data, size)
        self._entries = {
            tag: (kind, count, place)
            for tag, kind, count, place in struct.iter_unpack(source.entry_format, data[:size])
        }

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def raw(self, tag: int, most: int) -> tuple[int, bytes]:
        """Return the type of a tag and its first values, `most` at most, as they are written.

        Nothing for a tag that is absent or of a type that is not needed here. Raises Unreadable where the
        values are beyond the file's end.
        """
        kind, count, place = self._entries.get(tag, (0, 0, b""))
        size = min(count, most) * VALUE_BYTES.get(kind, 0)
        if size and count * VALUE_BYTES[kind] > len(place):
            (offset,) = struct.unpack(self.source.offset_format, place)
            place = self.source.read_at(offset, size)
        return kind, place[:size]

    def values(self, tag: int, most: int) -> np.ndarray:
        """Return the first values of a tag of numbers, (N,) of at most `most`; none where it is absent."""
        kind, data = self.raw(tag, most)
        return np.frombuffer(data, np.dtype(_DTYPES.get(kind, "u1")).newbyteorder(self.source.order))

    def number(self, tag: int, default: int) -> int:
        """Return the first value of a tag of whole numbers."""
        values = self.values(tag, most=1)
        return int(values[0]) if values.size else default


def read_directories(source: TiffSource) -> Iterator[Directory]:
    """Yield the directories in the order of their chain, which ends at its first repetition.

    Raises Unreadable where the chain leaves the file, and for one that is longer than a file may have.
    """
    seen: set[int] = set()
    offset, entries = source.first_directory, 0
    while offset and offset not in seen:
        seen.add(offset)
        check_pages(len(seen))
        directory = Directory(source, offset)
        entries += directory.entry_count
        if entries > _MAX_ENTRIES_OF_ALL:
            raise malformed("its directories are longer than they can be")
        yield directory
        offset = directory.next_offset
