"""NumPy's NPZ, one array for each column, written and read piece by piece and without pickle."""

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsiglip_search.errors import UnusableFile
from medsiglip_search.gallery_schema import ATTRIBUTES
from medsiglip_search.transfer.columns import FLAGS, FLAGS_SEPARATOR, TEXT, without_empty
from medsiglip_search.transfer.origin import KEY, Origin, origin_of_json

MAGIC = b"PK\x03\x04"
BATCH_ROWS, BATCH_BYTES = 2048, 32 << 20
MAX_CELL_BYTES = 4 << 20
MAX_ORIGIN_BYTES = 1 << 20

# A name that no column may have: those beginning with _ are refused.
_ORIGIN = f"_{KEY}"
_SUFFIX = ".npy"

# What zipfile and numpy raise on damaged files. RuntimeError: an encrypted member; TokenError: half a header.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    tokenize.TokenError,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
)

Read = Callable[[Sequence[str]], Iterable[pa.RecordBatch]]
"""Reads columns of a gallery, as often as asked."""


def write_npz(file: BinaryIO, schema: pa.Schema, rows: int, read: Read, origin: Origin) -> None:
    """Write an array for each column of `schema` into `file`; what `np.load` reads without pickle.

    Text is unicode of a fixed width, with "" where there is none; numbers that may be missing are float64,
    with NaN; flags are joined by ";". Each column is read for itself: bounded memory.
    """
    widths = _widths(schema, read)
    with zipfile.ZipFile(file, "w") as archive:
        _write_array(archive, _ORIGIN, np.array(origin.to_json().decode()))
        for field in schema:
            dtype = _layout(field, widths)
            shape = (rows, field.type.list_size) if field.name == "embedding" else (rows,)
            with _member(archive, field.name, shape, dtype) as stream:
                for batch in read([field.name]):
                    stream.write(np.ascontiguousarray(_array(batch[field.name], dtype)).tobytes())


def _widths(schema: pa.Schema, read: Read) -> dict[str, int]:
    """Return the number of characters in the longest cell of each column of text."""
    widths = {field.name: 1 for field in schema if field.type in (TEXT, FLAGS)}
    for batch in read(list(widths)) if widths else ():
        for name, width in widths.items():
            longest = pc.max(pc.utf8_length(_text(batch[name]))).as_py()
            widths[name] = max(width, longest or 0)
    return widths


def _layout(field: pa.Field, widths: Mapping[str, int]) -> np.dtype:
    if field.name in widths:
        return np.dtype(f"<U{widths[field.name]}")
    if field.name == "embedding":
        return np.dtype("<f2")
    if pa.types.is_timestamp(field.type):
        return np.dtype("<M8[us]")
    return np.dtype("<f8" if field.name in ATTRIBUTES else field.type.to_pandas_dtype())


def _array(cells: pa.Array, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "U":
        return np.array(_text(cells).fill_null("").to_pylist(), dtype)
    if pa.types.is_fixed_size_list(cells.type):
        return cells.flatten().to_numpy(zero_copy_only=False)
    return cells.to_numpy(zero_copy_only=False).astype(dtype)


def _text(cells: pa.Array) -> pa.Array:
    return pc.binary_join(cells, FLAGS_SEPARATOR) if pa.types.is_list(cells.type) else cells


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with _member(archive, name, array.shape, array.dtype) as stream:
        stream.write(array.tobytes())


@contextmanager
def _member(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype
) -> Iterator[IO[bytes]]:
    """Yield what takes the bytes of one array."""
    member = zipfile.ZipInfo(name + _SUFFIX)
    # Text of a fixed width is mostly zeros; embeddings get no smaller.
    member.compress_type = zipfile.ZIP_STORED if dtype.kind == "f" else zipfile.ZIP_DEFLATED
    with archive.open(member, "w", force_zip64=True) as stream:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        yield stream


@dataclass(frozen=True, slots=True)
class _Column:
    """One array: where it lies, its type, and how many numbers each row has (1 but for embeddings)."""

    member: str
    dtype: np.dtype
    width: int

    @property
    def row_bytes(self) -> int:
        return self.width * self.dtype.itemsize


class NpzEmbeddings:
    """An NPZ file as an `EmbeddingsFile`.

    What each array says of itself is compared with its length before a byte of it is read.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        """Raises UnusableFile, GalleryMismatch."""
        self.path = path
        self.origin: Origin | None = None
        self._columns: dict[str, _Column] = {}
        lengths: dict[str, int] = {}
        with _reading(path):
            self._archive = zipfile.ZipFile(file)
            for member in self._archive.infolist():
                name = member.filename.removesuffix(_SUFFIX)
                if name == _ORIGIN:
                    self.origin = self._read_origin(member)
                elif name in self._columns:
                    raise self._unusable(name, "stands there twice")
                else:
                    self._columns[name], lengths[name] = self._read_header(name, member)
        first, self.rows = next(iter(lengths.items()), ("", 0))
        for name, length in lengths.items():
            if length != self.rows:
                raise self._unusable(name, f"{length} rows, and {first!r} has {self.rows}")
        self.schema = self._batch(self._columns, dict.fromkeys(self._columns, b"")).schema

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield these columns piece by piece, None where a text is empty. Raises UnusableFile."""
        chosen = {name: self._columns[name] for name in columns}
        row_bytes = sum(column.row_bytes for column in chosen.values())
        step = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, row_bytes)))
        with ExitStack() as stack, _reading(self.path):
            streams = {
                name: stack.enter_context(self._archive.open(column.member))
                for name, column in chosen.items()
            }
            for stream in streams.values():
                _header(stream)
            for start in range(0, self.rows, step):
                count = min(step, self.rows - start)
                pieces = {
                    name: _read_exactly(streams[name], count * column.row_bytes)
                    for name, column in chosen.items()
                }
                yield self._batch(chosen, pieces)

    def _read_origin(self, member: zipfile.ZipInfo) -> Origin:
        if member.file_size > MAX_ORIGIN_BYTES:
            raise self._unusable(_ORIGIN, "too long")
        with self._archive.open(member) as stream:
            _, dtype = _header(stream)
            if dtype.kind != "U":
                raise self._unusable(_ORIGIN, f"{dtype}, not text")
            text = str(np.frombuffer(stream.read(), dtype)[0])
        return origin_of_json(self.path, text.encode())

    def _read_header(self, name: str, member: zipfile.ZipInfo) -> tuple[_Column, int]:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self._unusable(name, "compressed as NumPy does not do it")
        with self._archive.open(member) as stream:
            shape, dtype = _header(stream)
            data_bytes = member.file_size - stream.tell()
        if dtype.kind not in "biufUSM":
            raise self._unusable(name, "Python objects or records; save numbers or text")
        if len(shape) != (2 if name == "embedding" else 1):
            raise self._unusable(name, f"shape {shape}; embedding is (N, D), every other column (N,)")
        if min(shape) < 0 or 0 in shape[1:] or math.prod(shape) * dtype.itemsize != data_bytes:
            raise self._unusable(name, f"shape {shape} of {dtype}, but {data_bytes} bytes")
        column = _Column(member.filename, dtype, math.prod(shape[1:]))
        if column.row_bytes > MAX_CELL_BYTES:
            raise self._unusable(name, f"{column.row_bytes} bytes in each row, more than {MAX_CELL_BYTES}")
        return column, shape[0]

    def _batch(self, columns: Mapping[str, _Column], pieces: Mapping[str, bytes]) -> pa.RecordBatch:
        arrays = {}
        for name, column in columns.items():
            values = np.frombuffer(pieces[name], column.dtype)
            try:
                cells = pa.array(values.astype(column.dtype.newbyteorder("="), copy=False))
                if values.dtype.kind == "U":
                    cells = without_empty(cells)
            except (pa.ArrowException, ValueError, SystemError):
                raise self._unusable(name, f"{column.dtype} that cannot be read") from None
            if name == "embedding":
                cells = pa.FixedSizeListArray.from_arrays(cells, column.width)
            arrays[name] = cells
        return pa.record_batch(arrays)

    def _unusable(self, name: str, problem: str) -> UnusableFile:
        return UnusableFile(f"{self.path}: array {name!r}: {problem}. Save it again")


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type of the array whose data begins where `stream` then stands."""
    match np.lib.format.read_magic(stream):
        case (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        case (2, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
        case version:
            raise ValueError(f"an array of format {version}")
    if fortran_order and len(shape) > 1:
        raise ValueError("an array in Fortran order; np.ascontiguousarray gives the usual one")
    return shape, dtype


def _read_exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise ValueError("an array ends early")
    return data


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise UnusableFile(f"{path}: cannot be read as NPZ: {reason}. Save it again") from None
