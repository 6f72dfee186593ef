"""The rows of a file of embeddings, checked and brought into the types of a gallery."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsiglip_search.errors import InvalidMetadata, UnusableFile
from medsiglip_search.gallery_schema import ATTRIBUTES, UNIT_NORM_TOLERANCE, images_schema, instance_columns
from medsiglip_search.transfer import npz, parquet
from medsiglip_search.transfer.columns import (
    TEXT,
    converted,
    fits,
    is_list,
    require_fit,
    sidecar_type,
    without_empty,
)
from medsiglip_search.transfer.npz import NpzEmbeddings
from medsiglip_search.transfer.origin import Origin
from medsiglip_search.transfer.parquet import ParquetEmbeddings

MAX_THUMBNAIL_BYTES = 1 << 20
_JPEG = b"\xff\xd8\xff"

_GIVEN_BY_THE_GALLERY = ("image_id", "indexed_at")


class EmbeddingsFile(Protocol):
    """A file with a row for each embedding.

    rows: how many. schema: the columns as the file has them. origin: what it says of where it came from.
    """

    path: Path
    rows: int
    schema: pa.Schema
    origin: Origin | None

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield these columns piece by piece, in the order of the rows."""
        ...


@contextmanager
def open_embeddings(path: Path) -> Iterator[EmbeddingsFile]:
    """Open a Parquet or NPZ file, known by its content. Raises UnusableFile, GalleryMismatch."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UnusableFile(f"{path}: cannot be opened: {error.strerror}. Check its name") from None
    with file:
        magic = file.read(4)
        file.seek(0)
        if magic == parquet.MAGIC:
            yield ParquetEmbeddings(path, file)
        elif magic == npz.MAGIC:
            yield NpzEmbeddings(path, file)
        else:
            raise UnusableFile(
                f"{path}: neither Parquet nor NPZ. Give a file that `export` could have written"
            )


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows, checked. first: which row of the file is the first of them, counted from 0.

    cells: the columns that make an `Instance`, as the images table has them, image_id 0.
    embeddings: (n, D) float16, unit. thumbnails: JPEG, b"" where there is none.
    """

    first: int
    cells: pa.RecordBatch
    embeddings: np.ndarray
    thumbnails: list[bytes]


class RowReader:
    """Reads a file as rows of a gallery, as often as asked; every reading checks them."""

    def __init__(
        self, file: EmbeddingsFile, dim: int, archive: str, *, normalize: bool, stored: pa.Schema | None
    ) -> None:
        """dim: how many numbers an embedding has.

        archive: of rows that name none. normalize: scale embeddings to norm 1 instead of refusing others.
        stored: the columns of the gallery that the rows are meant for, None for a new one.
        Raises UnusableFile if a column is missing, or of a type or name that no gallery can hold.
        """
        self._file = file
        self._dim = dim
        self._normalize = normalize
        self._defaults: Mapping[str, Any] = {
            "archive": archive,
            **dict.fromkeys(("source_digest", "pixel_digest"), ""),
            **dict.fromkeys(("image_id", "frame", "size", "mtime_ns", "rows", "columns"), 0),
            "thumbnail": b"",
        }
        names = file.schema.names
        for name in ("uri", "embedding"):
            if name not in names:
                raise self._unusable(f"no column {name!r}. It needs uri and embedding at least")
        self._given = [name for name in names if name not in _GIVEN_BY_THE_GALLERY]
        own = images_schema(dim)
        self._types = {name: own.field(name).type for name in [*instance_columns(own.names), "thumbnail"]}
        self._require_fit(own if stored is None else stored)

    def _require_fit(self, stored: pa.Schema) -> None:
        """Raise UnusableFile for columns that no gallery can hold, or none with the columns `stored`."""
        added = {}
        for name in self._given:
            kind = self._kind(name)
            if name == "embedding":
                if not (is_list(kind) and pa.types.is_floating(kind.value_type)):
                    raise self._refused(name, "it takes lists of float16, float32 or float64")
            elif name not in self._types:
                added[name] = sidecar_type(kind)
                if added[name] is None:
                    raise self._refused(name, "a column holds numbers or text")
            elif not fits(kind, self._types[name]):
                raise self._refused(name, f"a gallery has {self._types[name]} there")
        try:
            require_fit(str(self._file.path), added, stored)
        except InvalidMetadata as error:
            raise UnusableFile(str(error)) from None
        self._types |= added

    def _kind(self, name: str) -> pa.DataType:
        """Return the type of a column of the file. Raises UnusableFile if there are two of the name."""
        if self._file.schema.names.count(name) > 1:
            raise self._unusable(f"two columns {name!r}; rename one")
        return self._file.schema.field(name).type

    def __iter__(self) -> Iterator[Rows]:
        """Raises UnusableFile with the number of the row, counted from 0."""
        first = 0
        for batch in self._file.batches(self._given):
            yield self._rows(first, batch)
            first += len(batch)

    def _rows(self, first: int, batch: pa.RecordBatch) -> Rows:
        cells = {name: self._cells(first, name, batch) for name in self._types}
        thumbnails = cells.pop("thumbnail").to_pylist()
        self._require(first, pc.fill_null(pc.not_equal(cells["uri"], ""), False), "no uri")
        for name in ("frame", "size", "rows", "columns"):
            self._require(first, pc.greater_equal(cells[name], 0), f"{name} below 0")
        usable = [not cell or (cell[:3] == _JPEG and len(cell) <= MAX_THUMBNAIL_BYTES) for cell in thumbnails]
        self._require(first, pa.array(usable, pa.bool_()), "the thumbnail is no small JPEG")
        return Rows(first, pa.record_batch(cells), self._embeddings(first, batch["embedding"]), thumbnails)

    def _cells(self, first: int, name: str, batch: pa.RecordBatch) -> pa.Array:
        """Return one column in the gallery's type, missing cells filled where the gallery has none."""
        kind = self._types[name]
        given = batch[name] if name in self._given else pa.nulls(len(batch), kind)
        cells = converted(given, kind)
        if cells is None:
            # Which one, is only looked for now.
            bad = next(n for n in range(len(given)) if converted(given.slice(n, 1), kind) is None)
            raise self._bad_row(first + bad, f"{name} is no {kind} that a gallery can hold")
        if name in ATTRIBUTES and kind == TEXT:
            cells = without_empty(cells)
        return cells.fill_null(self._defaults[name]) if name in self._defaults else cells

    def _embeddings(self, first: int, column: pa.Array) -> np.ndarray:
        """Return (n, D) float16."""
        lengths = pc.fill_null(pc.list_value_length(column), 0)
        self._require(
            first,
            pc.equal(lengths, self._dim),
            f"the embedding has not {self._dim} numbers, as the encoder's",
        )
        flat = column.flatten()
        given = np.asarray(pc.is_valid(flat)).reshape(-1, self._dim)
        self._require(first, given.all(axis=1), "a number of the embedding is missing")
        rows = flat.to_numpy(zero_copy_only=False).reshape(-1, self._dim)
        norms = _norms(rows)
        self._require(first, np.isfinite(norms), "the embedding is not finite")
        self._require(first, norms > 0, "the embedding is all zeros")
        with np.errstate(over="ignore"):
            rounded = (rows / norms[:, None] if self._normalize else rows).astype(np.float16)
        # After the rounding, which moves a norm by up to 0.0005: the gallery will look at it again.
        is_unit = np.abs(_norms(rounded) - 1) <= UNIT_NORM_TOLERANCE
        self._require(first, is_unit, "the embedding has not norm 1. Pass --normalize to scale all of them")
        return rounded

    def _require(self, first: int, holds: pa.Array | np.ndarray, problem: str) -> None:
        """Raise UnusableFile with the first row for which something does not hold."""
        holds = np.asarray(holds)
        if not holds.all():
            raise self._bad_row(first + int(np.argmin(holds)), problem)

    def _bad_row(self, row: int, problem: str) -> UnusableFile:
        return self._unusable(f"row {row}, counted from 0: {problem}")

    def _refused(self, name: str, why: str) -> UnusableFile:
        return self._unusable(f"column {name!r} holds {self._kind(name)}; {why}")

    def _unusable(self, problem: str) -> UnusableFile:
        return UnusableFile(f"{self._file.path}: {problem}")


def _norms(rows: np.ndarray) -> np.ndarray:
    """Return (n,)."""
    # Squares of float16 fit into float32, others into float64.
    wide: np.ndarray = rows.astype(np.float32 if rows.dtype == np.float16 else np.float64, copy=False)
    return np.sqrt(np.square(wide).sum(axis=1))
