"""The store: embeddings, metadata, thumbnails and rejections in one folder.

The two tables are the truth; the index is derived from them. One writer at a time replaces whole files, a
batch per commit; a reader stays on the version that it opened until it refreshes.
"""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa

from medsiglip_search import checksums, filters, gallery_folder, soundness
from medsiglip_search.encoders import Encoder
from medsiglip_search.errors import GalleryDamaged, GalleryError, GalleryMismatch, UnknownImage
from medsiglip_search.files import write_file
from medsiglip_search.gallery_folder import IMAGES, META, REJECTED, SECRET_KEY
from medsiglip_search.gallery_schema import (
    LABEL_COLUMNS,
    REJECTED_SCHEMA,
    LabelColumn,
    RejectedFile,
    images_schema,
    instance_columns,
    instances_of,
    label_columns_of,
    lacks,
    rejected_of,
)
from medsiglip_search.gallery_table import ConditionRefused, Table
from medsiglip_search.gallery_writer import PURGE, GalleryWriter
from medsiglip_search.records import GalleryMeta, Identifiers, Instance, PreprocessSpec, Run, Value
from medsiglip_search.table_files import HOW_TO_RESTORE, newest_version


class Gallery:
    """One version of a gallery, for reading; `writer` adds to it.

    path: the folder. meta: what gallery.json holds.
    """

    def __init__(self, path: Path, meta: GalleryMeta, images: Table, rejected: Table) -> None:
        self.path = path
        self.meta = meta
        self._images = images
        self._rejected = rejected
        self._ids: np.ndarray | None = None

    @staticmethod
    def exists(path: str | os.PathLike[str]) -> bool:
        """Tell whether a gallery stands at `path`, be it damaged."""
        return os.path.exists(os.path.join(path, META))

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], meta: GalleryMeta, secret_key: bytes | None = None
    ) -> "Gallery":
        """Make an empty gallery in a folder that is missing, empty, or left by a `create` that was killed.

        secret_key: of its pseudonyms, 32 bytes; a new one by default.
        Raises GalleryNotFound where something else stands at `path`, GalleryError where a gallery does or the
        folder cannot be written, GalleryLocked if another process is at it.
        """
        path = Path(path)
        try:
            gallery_folder.prepare(path)
            with gallery_folder.writer_lock(path) as hold:
                gallery_folder.prepare(path)
                gallery_folder.clear(path)
                write_file(path / SECRET_KEY, secret_key or secrets.token_bytes(32), mode=0o600)
                Table.create(path / REJECTED, REJECTED_SCHEMA)
                Table.create(path / IMAGES, images_schema(meta.dim))
                files = sorted(gallery_folder.lasting_files(path))
                digests = checksums.digests_of(path, files)
                gallery_folder.complete(path, gallery_folder.meta_bytes(meta), digests)
                hold.finish()
        except OSError as error:
            raise GalleryError(f"{path}: cannot be written: {error.strerror}. Name another folder") from None
        return cls.open(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Gallery":
        """Open the newest version of the gallery at `path`.

        Raises GalleryNotFound, GalleryMismatch for another format version, GalleryDamaged.
        """
        path = Path(path)
        meta = gallery_folder.read_meta(path)
        images, rejected = Table.open(path / IMAGES), Table.open(path / REJECTED)
        if lacks(images.schema, images_schema(meta.dim)) or lacks(rejected.schema, REJECTED_SCHEMA):
            raise GalleryDamaged(f"{path}: the tables lack columns that {META} says. {HOW_TO_RESTORE}")
        return cls(path, meta, images, rejected)

    @property
    def version(self) -> int:
        """The version of the images; it grows with every commit that changes them."""
        return self._images.version

    @property
    def state(self) -> str:
        """What a file derived from the images is stamped with; no other content has the same."""
        return f"version {self.version} of {self._images.committed_at}"

    @property
    def is_newest(self) -> bool:
        """Tell whether no later version of the images has been committed."""
        return newest_version(self.path / IMAGES) == self.version

    @property
    def is_purge_due(self) -> bool:
        """Tell whether images were deleted for good, and the disk may have their bytes still."""
        return bool(self._images.note(PURGE))

    @property
    def secret_key(self) -> bytes:
        """The key of the pseudonyms, 32 bytes. Raises GalleryDamaged if it is lost."""
        try:
            key = (self.path / SECRET_KEY).read_bytes()
        except FileNotFoundError:
            key = b""
        except OSError as error:
            raise GalleryError(f"{self.path}: {SECRET_KEY} cannot be read: {error.strerror}") from None
        if len(key) != 32:
            raise GalleryDamaged(
                f"{self.path}: {SECRET_KEY} is lost, and without it the same patient would get another "
                f"pseudonym. {HOW_TO_RESTORE}"
            )
        return key

    def __len__(self) -> int:
        return len(self._images)

    def refresh(self) -> None:
        """Go to the newest version."""
        self._advance(Table.open(self.path / IMAGES), Table.open(self.path / REJECTED))

    def require(self, encoder: Encoder) -> None:
        """Raise GalleryMismatch unless the embeddings of `encoder` compare with the stored ones."""
        meta = self.meta
        if encoder.weights_digest != meta.weights_digest or encoder.dim != meta.dim:
            raise GalleryMismatch(
                f"{self.path}: embedded with {meta.encoder} (weights {meta.weights_digest[:12]}), opened "
                f"with {encoder.name} (weights {encoder.weights_digest[:12]}). Pass --encoder or build a new "
                "gallery"
            )
        if encoder.spec != meta.spec:
            raise GalleryMismatch(
                f"{self.path}: {_differences(meta.spec, encoder.spec)}. Build a new gallery"
            )

    def require_identifiers(self, choice: Identifiers) -> None:
        """Raise GalleryMismatch unless `choice` is the gallery's way with identifiers."""
        own = self.meta.identifiers
        if choice != own:
            raise GalleryMismatch(
                f"{self.path}: made with --identifiers {own}, opened with --identifiers {choice}. Leave the "
                "option out, or index the archives into a new gallery"
            )

    def columns(self) -> tuple[str, ...]:
        """Return the columns that a filter may name; the sidecar's come last."""
        return tuple(instance_columns(self._images.schema.names))

    @property
    def schema(self) -> pa.Schema:
        """The types of `stored_columns`."""
        return self._images.schema

    def stored_columns(self) -> tuple[str, ...]:
        """Return all columns of the images, those that only `row_batches` gives among them."""
        return tuple(self._images.schema.names)

    def label_columns(self) -> Mapping[str, LabelColumn]:
        """Return the columns that hold the decisions of labels, by their names."""
        noted = label_columns_of(self._images.note(LABEL_COLUMNS))
        return {name: column for name, column in noted.items() if name in self._images.schema.names}

    def select(self, where: str | None) -> np.ndarray:
        """Return the image_ids, (N,) int64 ascending, of the rows that fit `where`; of all rows if None.

        where: a condition in SQL over `columns`. Raises InvalidQuery.
        """
        if where is None:
            return self._all_ids()
        return self._fitting(self._images, ["image_id"], where)["image_id"].to_numpy()

    def embeddings(self, where: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return image_ids, (N,) int64 ascending, and embeddings, (N, D) float16, of the rows that fit."""
        ids = self.select(where)
        if where is not None:
            return ids, self.stored_embeddings_of(ids)
        embeddings = np.empty((len(ids), self.meta.dim), np.float16)
        start = 0
        for batch in self.embedding_batches():
            embeddings[start : start + len(batch)] = batch
            start += len(batch)
        return ids, embeddings

    def embedding_batches(self) -> Iterator[np.ndarray]:
        """Yield all embeddings in the order of `select(None)`, as (n, D) float16."""
        for batch in self._images.batches(["embedding"]):
            yield self._matrix(batch["embedding"])

    def row_times(self) -> tuple[np.ndarray, np.ndarray]:
        """Return image_ids, (N,) int64 ascending, and when each row was stored, (N,) int64 microseconds.

        The two together name a row for good: what they name never changes, in no version and no copy.
        """
        stored = self._images.read(["indexed_at"])["indexed_at"]
        return self._all_ids(), stored.cast(pa.int64()).to_numpy()

    def cell_batches(self, *columns: str) -> Iterator[tuple[list[Value], ...]]:
        """Yield the cells of these columns, a list each, in the order of `select(None)`."""
        for batch in self._images.batches(columns):
            yield tuple(batch[column].to_pylist() for column in columns)

    def rejected_batches(self, *columns: str) -> Iterator[tuple[list[Value], ...]]:
        """Yield these cells of the rejected rows, in the order in which the rows were added."""
        for batch in self._rejected.batches(columns):
            yield tuple(batch[column].to_pylist() for column in columns)

    def row_batches(
        self, columns: Sequence[str], where: str | None = None, start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Yield some of `stored_columns` of the rows that fit `where`, a few thousand at a time, by image_id.

        where: as in `select`. start: how many of these rows to pass over. Raises InvalidQuery.
        """
        if where is None:
            yield from self._images.batches(columns, start=start)
        else:
            self.select(where)
            yield from self._images.batches(columns, self._condition(where), start)

    def embeddings_of(self, image_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (N, D) float32 embeddings in the order asked. Raises InvalidQuery for an unknown id."""
        return self.stored_embeddings_of(image_ids).astype(np.float32)

    def stored_embeddings_of(self, image_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (N, D) float16 embeddings in the order asked. Raises InvalidQuery for an unknown id."""
        return self._matrix(self._rows(image_ids, ["embedding"])["embedding"].combine_chunks())

    def instances(self, image_ids: Sequence[int] | np.ndarray) -> list[Instance]:
        """Return the rows in the order asked. Raises InvalidQuery for an unknown id."""
        return instances_of(self._rows(image_ids, self.columns()))

    def thumbnails(self, image_ids: Sequence[int] | np.ndarray) -> list[bytes]:
        """Return the thumbnails, JPEG, in the order asked; b"" for an image without.

        Raises InvalidQuery for an unknown id.
        """
        return [cell or b"" for cell in self._rows(image_ids, ["thumbnail"])["thumbnail"].to_pylist()]

    def rejected(self) -> list[RejectedFile]:
        """Return the files and frames without an embedding, in the order in which they were rejected."""
        return rejected_of(self._rejected.read(self._rejected.schema.names))

    def runs(self) -> list[Run]:
        """Return the reports of the runs that filled it, the newest first. Raises GalleryDamaged."""
        return gallery_folder.read_runs(self.path)

    def files(self) -> list[str]:
        """Return the paths, below the gallery's own, of what its version is made of, but for gallery.json.

        Raises GalleryOutdated if a writer has removed the version.
        """
        tables = {IMAGES: self._images, REJECTED: self._rejected}
        own = [SECRET_KEY, *gallery_folder.run_files(self.path)]
        return own + [f"{name}/{file}" for name, table in tables.items() for file in table.files()]

    def require_sound(self) -> None:
        """Raise GalleryDamaged unless each file of this version is as it was written.

        For those who carry all rows elsewhere, where nobody could tell damage. Raises GalleryOutdated if a
        writer removes the version meanwhile.
        """
        try:
            soundness.require_sound(self.path, self.files(), soundness.read_list(self.path).digests)
        except GalleryDamaged:
            self.files()  # says if the version was removed
            raise

    def size_bytes(self) -> int:
        """Return what the folder takes on disk, old versions and derived files included."""
        return gallery_folder.usage(self.path)[1]

    @contextmanager
    def writer(self) -> Iterator["GalleryWriter"]:
        """Hold the gallery's only writer; this object goes to the newest version and follows its commits.

        Raises GalleryLocked at once if another process writes. The lock ends with its process.
        """
        with gallery_folder.writer_lock(self.path) as hold:
            try:
                self.refresh()
                writer = GalleryWriter(self, hold)
            except GalleryError:
                hold.give_up()
                raise
            try:
                yield writer
            finally:
                writer.close()

    def _advance(self, images: Table | None = None, rejected: Table | None = None) -> None:
        if images is not None:
            self._images, self._ids = images, None
        if rejected is not None:
            self._rejected = rejected

    def _fitting(self, table: Table, columns: Sequence[str], where: str) -> pa.Table:
        try:
            return table.read(columns, self._condition(where))
        except ConditionRefused as error:
            raise filters.invalid_in_store(str(error), self.columns()) from None

    def _condition(self, where: str) -> str:
        return filters.checked(where, self.columns())

    def _all_ids(self) -> np.ndarray:
        if self._ids is None:
            ids = self._images.read(["image_id"])["image_id"].to_numpy()
            # Rows are only appended, under growing ids: the order tells where a row stands.
            if np.any(ids[1:] <= ids[:-1]):
                raise GalleryDamaged(f"{self.path}: the image ids are out of order. {HOW_TO_RESTORE}")
            self._ids = ids
        return self._ids

    def _rows(self, image_ids: Sequence[int] | np.ndarray, columns: Sequence[str]) -> pa.Table:
        ids = self._all_ids()
        try:
            asked = np.asarray(image_ids, np.int64)
        except OverflowError:
            raise UnknownImage(f"{self.path}: no image id has so many digits. Take one from a hit") from None
        known = np.isin(asked, ids)
        if not known.all():
            raise UnknownImage(f"{self.path}: no image {asked[~known][0]}. Take an id from one of its hits")
        places = np.searchsorted(ids, asked)
        return self._images.take(places, columns)

    def _matrix(self, embeddings: pa.FixedSizeListArray) -> np.ndarray:
        return embeddings.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.meta.dim)


def _differences(stored: PreprocessSpec, asked: PreprocessSpec) -> str:
    """Return what of the preprocessing is not as it was."""
    return "; ".join(
        f"pictures were made with {field.name} {was}, not {now}"
        for field in fields(PreprocessSpec)
        if (was := getattr(stored, field.name)) != (now := getattr(asked, field.name))
    )
