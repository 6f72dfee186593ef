"""Parquet as other programs write and read it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from medsiglip_search.errors import UnusableFile
from medsiglip_search.transfer.origin import KEY, Origin, origin_of_json

MAGIC = b"PAR1"
GROUP_BYTES = 32 << 20
BATCH_ROWS = 2048
READ_BYTES = 1 << 20


def write_parquet(
    file: BinaryIO, schema: pa.Schema, batches: Iterable[pa.RecordBatch], origin: Origin
) -> int:
    """Write the batches into `file`; returns how many rows that were. Bounded memory."""
    # What is not alike from row to row is not made smaller by a dictionary, and has no useful bounds.
    repeating = [name for name in schema.names if name not in ("embedding", "thumbnail")]
    schema = schema.with_metadata({KEY: origin.to_json()})
    rows = 0
    with pq.ParquetWriter(
        file, schema, compression="zstd", use_dictionary=repeating, write_statistics=repeating
    ) as writer:
        for table in _groups(schema, batches):
            writer.write_table(table, row_group_size=len(table))
            rows += len(table)
    return rows


def _groups(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield the batches in tables of about GROUP_BYTES."""
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch.replace_schema_metadata(schema.metadata))
        if sum(one.nbytes for one in group) >= GROUP_BYTES:
            yield pa.Table.from_batches(group, schema)
            group = []
    if group:
        yield pa.Table.from_batches(group, schema)


class ParquetEmbeddings:
    """A Parquet file as an `EmbeddingsFile`."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        """Raises UnusableFile, GalleryMismatch."""
        self.path = path
        with _reading(path):
            # Read piece by piece: other programs write gigabytes into one row group.
            self._file = pq.ParquetFile(file, buffer_size=READ_BYTES, pre_buffer=False)
            self.schema: pa.Schema = self._file.schema_arrow
        self.rows: int = self._file.metadata.num_rows
        written = (self.schema.metadata or {}).get(KEY.encode())
        self.origin = origin_of_json(path, written) if written is not None else None

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield these columns piece by piece. Raises UnusableFile."""
        with _reading(self.path):
            yield from self._file.iter_batches(BATCH_ROWS, columns=columns)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UnusableFile(f"{path}: cannot be read as Parquet: {reason}. Write it again") from None
