"""One page of a TIFF file as a file of its own, with nothing else in it."""

import io
import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from medsiglip_search.images.codestream import codestream_header
from medsiglip_search.images.limits import check_encoded, check_frame
from medsiglip_search.images.raster import tiff_tags as tags
from medsiglip_search.images.raster.decoding import malformed
from medsiglip_search.images.raster.tiff_directory import LONG, LONG8, VALUE_BYTES, Directory

# What decoding depends on, except for size and place of the pixels. The orientation is the reader's to apply.
_KEPT = (
    tags.BITS, tags.COMPRESSION, tags.PHOTOMETRIC, tags.FILL_ORDER, tags.SAMPLES, tags.PLANAR_CONFIGURATION,
    tags.T4_OPTIONS, tags.T6_OPTIONS, tags.PREDICTOR, tags.COLOUR_MAP, tags.INK_SET, tags.EXTRA_SAMPLES,
    tags.SAMPLE_FORMAT, tags.JPEG_TABLES, tags.YCBCR_COEFFICIENTS, tags.YCBCR_SUBSAMPLING,
    tags.YCBCR_POSITIONING, tags.REFERENCE_BLACK_WHITE,
)  # fmt: skip
_MOST_VALUES = 3 * 2**16  # a colour map of 16 bits
_MOST_PIECES = 1_000_000
_HEADER_BYTES = 8


def one_page_file(page: Directory) -> io.BytesIO:
    """Return a TIFF file, never a BigTIFF, of this one page, whose size has been checked.

    Raises Unreadable for pixels that are missing, beyond the file's end or more than allowed.
    """
    pieces = _pieces(page)
    places = _places(page, pieces)
    order = page.source.order
    file = io.BytesIO()
    file.write(bytes(_HEADER_BYTES))
    # Empty tiles may all be the same one.
    written: dict[_Place, tuple[int, int]] = {}
    for place in places:
        if place not in written:
            data = _piece(page, place)
            check_encoded(file.tell() + len(data))
            written[place] = file.tell(), len(data)
            file.write(data)
    new_places = np.array([written[place] for place in places], dtype=f"{order}u4")
    fields = _kept_fields(page) | pieces.fields(order)
    fields[pieces.offsets_tag] = (LONG, len(places), new_places[:, 0].tobytes())
    fields[pieces.bytes_tag] = (LONG, len(places), new_places[:, 1].tobytes())
    directory_offset = _write_directory(file, order, fields)
    file.seek(0)
    file.write(struct.pack(f"{order}2sHL", b"II" if order == "<" else b"MM", 42, directory_offset))
    return file


def bits_per_pixel(page: Directory) -> int:
    """Return the bits that all samples of a pixel take together."""
    bits = page.values(tags.BITS, _MOST_VALUES)
    samples = page.number(tags.SAMPLES, max(1, bits.size))
    # Some files give one number for all samples.
    return int(bits.sum()) if bits.size == samples else samples * page.number(tags.BITS, 1)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a strip or tile is.

    size, decoded_size: in bytes, as it is stored and of its pixels. rows, columns: of its pixels.
    """

    offset: int
    size: int
    decoded_size: int
    rows: int
    columns: int


_Field = tuple[int, int, bytes]
"""Type, number of values, and the values as they are written."""


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The strips or tiles of a page: rows and columns of each, how many, in all planes, and their tags."""

    page_rows: int
    page_columns: int
    rows: int
    columns: int
    count: int
    count_of_plane: int
    offsets_tag: int
    bytes_tag: int

    def fields(self, order: str) -> dict[int, _Field]:
        """Return the fields that give these sizes."""
        numbers = {tags.ROWS: self.page_rows, tags.COLUMNS: self.page_columns}
        if self.offsets_tag == tags.TILE_OFFSETS:
            numbers |= {tags.TILE_ROWS: self.rows, tags.TILE_COLUMNS: self.columns}
        else:
            numbers[tags.ROWS_PER_STRIP] = self.rows
        return {tag: (LONG, 1, struct.pack(f"{order}L", number)) for tag, number in numbers.items()}

    def rows_of(self, piece: int) -> int:
        """Return the rows of one piece; the last strip may have fewer than the others."""
        if self.offsets_tag == tags.TILE_OFFSETS:
            return self.rows
        return min(self.rows, self.page_rows - piece % self.count_of_plane * self.rows)


def _pieces(page: Directory) -> _Pieces:
    rows, columns = page.number(tags.ROWS, 0), page.number(tags.COLUMNS, 0)
    planes = 1
    if page.number(tags.PLANAR_CONFIGURATION, 1) == tags.PLANAR:
        planes = page.number(tags.SAMPLES, 1)
    if tags.TILE_OFFSETS in page:
        places = (tags.TILE_OFFSETS, tags.TILE_BYTES)
        piece_rows, piece_columns = page.number(tags.TILE_ROWS, 0), page.number(tags.TILE_COLUMNS, 0)
        check_frame(piece_rows, piece_columns, bits_per_pixel(page))
    else:
        places = (tags.STRIP_OFFSETS, tags.STRIP_BYTES)
        piece_rows, piece_columns = min(rows, page.number(tags.ROWS_PER_STRIP, rows)), columns
    if piece_rows < 1:
        raise malformed("its strips have no rows")
    of_plane = math.ceil(rows / piece_rows) * math.ceil(columns / piece_columns)
    if of_plane * planes > _MOST_PIECES:
        raise malformed("it is in more strips or tiles than it can be")
    return _Pieces(rows, columns, piece_rows, piece_columns, of_plane * planes, of_plane, *places)


def _places(page: Directory, pieces: _Pieces) -> list[_Place]:
    offsets = page.values(pieces.offsets_tag, pieces.count).tolist()
    sizes = page.values(pieces.bytes_tag, pieces.count).tolist()
    decoded_sizes = _decoded_sizes(page, pieces)
    if page.number(tags.COMPRESSION, tags.UNCOMPRESSED) == tags.UNCOMPRESSED:
        # Known, and often written wrongly.
        sizes = decoded_sizes
    elif not sizes and len(offsets) == 1:
        sizes = [max(0, page.source.size - offsets[0])]
    if not len(offsets) == len(sizes) == pieces.count:
        raise malformed("some of its strips or tiles are missing")
    return [
        _Place(offset, size, decoded_size, pieces.rows_of(piece), pieces.columns)
        for piece, (offset, size, decoded_size) in enumerate(zip(offsets, sizes, decoded_sizes, strict=True))
    ]


def _decoded_sizes(page: Directory, pieces: _Pieces) -> list[int]:
    bits, planes = bits_per_pixel(page), pieces.count // pieces.count_of_plane
    rows = [pieces.rows_of(piece) for piece in range(pieces.count)]
    if page.number(tags.PHOTOMETRIC, 0) == tags.YCBCR and planes == 1:
        # As many samples of light as pixels, and two of colour for each block of them (TIFF 6.0, section 21).
        across, down, *_ = (max(1, n) for n in (*page.values(tags.YCBCR_SUBSAMPLING, 2).tolist(), 2, 2))
        blocks_of_row = math.ceil(pieces.columns / across)
        return [math.ceil(count / down) * blocks_of_row * (across * down + 2) for count in rows]
    row_bytes = math.ceil(pieces.columns * (bits // planes) / 8)
    return [count * row_bytes for count in rows]


def _piece(page: Directory, place: _Place) -> bytes:
    """Return a strip or tile as it is stored; a deflated one so that it inflates to its size.

    Raises Unreadable for one with fewer pixels than it must have: libtiff leaves the others as its memory was
    before, which may be another file's pixels.
    """
    check_encoded(place.size)
    data = page.source.read_at(place.offset, place.size)
    compression = page.number(tags.COMPRESSION, tags.UNCOMPRESSED)
    if compression in (tags.JPEG, tags.OLD_JPEG):
        # libjpeg would make up for what is missing with samples of its own.
        if b"\xff\xd9" not in data:
            raise malformed("one of its strips or tiles ends early")
        header = codestream_header(data)
        if header is None or header.rows < place.rows or header.columns < place.columns:
            raise malformed("it has fewer pixels than it declares")
    if compression in tags.DEFLATE:
        # One that inflates to more has the same effect.
        data = zlib.decompressobj().decompress(data, place.decoded_size)
        if len(data) < place.decoded_size:
            raise malformed("it has fewer pixels than it declares")
        data = zlib.compress(data, level=0)
    return data


def _kept_fields(page: Directory) -> dict[int, _Field]:
    fields: dict[int, _Field] = {}
    for tag in _KEPT:
        kind, data = page.raw(tag, _MOST_VALUES)
        if kind == LONG8:
            narrowed = page.values(tag, _MOST_VALUES).astype(f"{page.source.order}u4")
            fields[tag] = (LONG, narrowed.size, narrowed.tobytes())
        elif data:
            fields[tag] = (kind, len(data) // VALUE_BYTES[kind], data)
    return fields


def _write_directory(file: io.BytesIO, order: str, fields: dict[int, _Field]) -> int:
    """Write the fields and what does not fit in them; return the directory's offset."""
    entries = b""
    for tag, (kind, count, data) in sorted(fields.items()):
        place = data.ljust(4, b"\0")
        if len(data) > 4:
            place = struct.pack(f"{order}L", file.tell())
            file.write(data)
        entries += struct.pack(f"{order}HHL", tag, kind, count) + place
    offset = file.tell()
    file.write(struct.pack(f"{order}H", len(fields)) + entries + bytes(4))
    return offset
