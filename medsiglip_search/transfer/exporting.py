"""A gallery's embeddings and metadata as a file for other programs: Parquet or NPZ."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from medsiglip_search.errors import GalleryError, InvalidQuery, UnusableFile
from medsiglip_search.files import UNFINISHED
from medsiglip_search.gallery import Gallery
from medsiglip_search.transfer import Progress, silent
from medsiglip_search.transfer.npz import write_npz
from medsiglip_search.transfer.origin import Origin
from medsiglip_search.transfer.parquet import write_parquet

FORMATS = (".parquet", ".npz")


@dataclass(frozen=True, slots=True)
class Export:
    """What was written: so many rows, in a file of so many bytes."""

    rows: int
    size_bytes: int


def export(
    gallery: Gallery,
    path: str | Path,
    *,
    where: str | None = None,
    columns: Sequence[str] | None = None,
    thumbnails: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Export:
    """Write the embeddings, float16, and their metadata into a file; it is there whole or not at all.

    path: its suffix chooses Parquet (`transfer.parquet`) or NPZ (`transfer.npz`). It also tells the encoder,
    so that `import_embeddings` needs not be told. where: a condition as `Gallery.select` takes it.
    columns: those of the metadata to write, all by default. thumbnails: JPEG, in Parquet only.
    overwrite: replace a file that stands there.
    Raises InvalidQuery for a bad condition or column, UnusableFile where nothing may be written, GalleryError
    if the disk does not take it, GalleryDamaged where a file of the gallery is not as it was written.
    """
    path = Path(path)
    _require_writable(path, thumbnails, overwrite)
    schema = _schema(gallery, columns, thumbnails)
    gallery.require_sound()
    rows = len(gallery.select(where))

    def read(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        done = 0
        for batch in gallery.row_batches(names, where):
            yield batch.select(names)
            done += len(batch)
            if "embedding" in names:
                progress(done, rows, "exported")

    origin = Origin.of(gallery)
    with _written_whole(path) as file:
        if path.suffix == ".npz":
            write_npz(file, schema, rows, read, origin)
        else:
            write_parquet(file, schema, read(schema.names), origin)
    return Export(rows, path.stat().st_size)


def _require_writable(path: Path, thumbnails: bool, overwrite: bool) -> None:
    if path.suffix not in FORMATS:
        raise UnusableFile(f"{path}: unknown kind of file. Name it {' or '.join('*' + f for f in FORMATS)}")
    if thumbnails and path.suffix == ".npz":
        raise UnusableFile(f"{path}: an NPZ holds no thumbnails. Export to *.parquet")
    if path.is_dir():
        raise UnusableFile(f"{path}: a folder. Name a file")
    if path.exists() and not overwrite:
        raise UnusableFile(f"{path}: there is a file already. Pass --overwrite, or name another")


def _schema(gallery: Gallery, columns: Sequence[str] | None, thumbnails: bool) -> pa.Schema:
    """Return the columns to write, in the order of the gallery."""
    stored = gallery.schema
    beside = ["embedding", "thumbnail"] if thumbnails else ["embedding"]
    metadata = [name for name in stored.names if name not in ("embedding", "thumbnail")]
    for name in columns or ():
        if name not in metadata:
            raise InvalidQuery(f"{gallery.path}: no column {name!r}. Columns: {', '.join(metadata)}")
    chosen = {*(metadata if columns is None else columns), *beside}
    return pa.schema([field for field in stored if field.name in chosen])


@contextmanager
def _written_whole(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that takes the name `path` when it is complete."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise GalleryError(f"{path}: cannot be written: {reason}. Name another place") from None
    finally:
        unfinished.unlink(missing_ok=True)
