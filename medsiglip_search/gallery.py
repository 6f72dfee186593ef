"""The store: embeddings, metadata, thumbnails and rejections in one folder.

The two tables are the truth; the index is derived from them. One writer at a time replaces whole files, a
batch per commit; a reader stays on the version that it opened until it refreshes.
"""

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa

from medsiglip_search import filters, gallery_folder
from medsiglip_search.encoders import Encoder
from medsiglip_search.errors import GalleryDamaged, GalleryError, GalleryMismatch, InvalidQuery
from medsiglip_search.gallery_folder import IMAGES, META, REJECTED, SECRET_KEY
from medsiglip_search.gallery_schema import (
    REJECTED_SCHEMA,
    KnownFile,
    RejectedFile,
    images_schema,
    images_table,
    instance_columns,
    instances_of,
    known_files_of,
    lacks,
    new_columns,
    rejected_of,
    rejected_table,
)
from medsiglip_search.gallery_table import HOW_TO_RESTORE, ConditionRefused, Table, text_literal
from medsiglip_search.records import GalleryMeta, Identifiers, Instance, PreprocessSpec, Value

UNIT_NORM_TOLERANCE = 1e-3

_NEXT_ID = "next_image_id"


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
    def create(cls, path: str | os.PathLike[str], meta: GalleryMeta) -> "Gallery":
        """Make an empty gallery in a folder that is missing, empty, or left by a `create` that was killed.

        Raises GalleryNotFound where something else stands at `path`, GalleryError where a gallery does or the
        folder cannot be written, GalleryLocked if another process is at it.
        """
        path = Path(path)
        try:
            gallery_folder.prepare(path)
            with gallery_folder.writer_lock(path):
                gallery_folder.prepare(path)
                gallery_folder.clear(path)
                gallery_folder.write_file(path / SECRET_KEY, secrets.token_bytes(32), mode=0o600)
                Table.create(path / REJECTED, REJECTED_SCHEMA)
                Table.create(path / IMAGES, images_schema(meta.dim))
                gallery_folder.write_meta(path, meta)
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

    def select(self, where: str | None) -> np.ndarray:
        """Return the image_ids, (N,) int64 ascending, of the rows that fit `where`; of all rows if None.

        where: a condition in SQL over `columns`. Raises InvalidQuery.
        """
        if where is None:
            return self._all_ids()
        try:
            found = self._images.read(["image_id"], filters.checked(where, self.columns()))
        except ConditionRefused as error:
            raise filters.invalid_in_store(str(error), self.columns()) from None
        return found["image_id"].to_numpy()

    def embeddings(self, where: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return image_ids, (N,) int64 ascending, and embeddings, (N, D) float16, of the rows that fit."""
        ids = self.select(where)
        if where is not None:
            return ids, self._stored(ids)
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

    def cell_batches(self, *columns: str) -> Iterator[tuple[list[Value], ...]]:
        """Yield the cells of these columns, a list each, in the order of `select(None)`."""
        for batch in self._images.batches(columns):
            yield tuple(batch[column].to_pylist() for column in columns)

    def embeddings_of(self, image_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (N, D) float32 embeddings in the order asked. Raises InvalidQuery for an unknown id."""
        return self._stored(image_ids).astype(np.float32)

    def instances(self, image_ids: Sequence[int] | np.ndarray) -> list[Instance]:
        """Return the rows in the order asked. Raises InvalidQuery for an unknown id."""
        return instances_of(self._rows(image_ids, self.columns()))

    def thumbnails(self, image_ids: Sequence[int] | np.ndarray) -> list[bytes]:
        """Return the thumbnails, JPEG, in the order asked. Raises InvalidQuery for an unknown id."""
        return self._rows(image_ids, ["thumbnail"])["thumbnail"].to_pylist()

    def rejected(self) -> list[RejectedFile]:
        """Return the files and frames without an embedding, in the order in which they were rejected."""
        return rejected_of(self._rejected.read(self._rejected.schema.names))

    def size_bytes(self) -> int:
        """Return what the folder takes on disk, old versions and derived files included."""
        return gallery_folder.size_bytes(self.path)

    @contextmanager
    def writer(self) -> Iterator["GalleryWriter"]:
        """Hold the gallery's only writer; this object goes to the newest version and follows its commits.

        Raises GalleryLocked at once if another process writes. The lock ends with its process.
        """
        with gallery_folder.writer_lock(self.path):
            self.refresh()
            yield GalleryWriter(self)

    def _advance(self, images: Table, rejected: Table) -> None:
        self._images, self._rejected, self._ids = images, rejected, None

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
            raise InvalidQuery(f"{self.path}: no image id has so many digits. Take one from a hit") from None
        known = np.isin(asked, ids)
        if not known.all():
            raise InvalidQuery(f"{self.path}: no image {asked[~known][0]}. Take an id from one of its hits")
        places = np.searchsorted(ids, asked)
        return self._images.take(places, columns)

    def _stored(self, image_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        return self._matrix(self._rows(image_ids, ["embedding"])["embedding"].combine_chunks())

    def _matrix(self, embeddings: pa.FixedSizeListArray) -> np.ndarray:
        return embeddings.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.meta.dim)


class GalleryWriter:
    """What `Gallery.writer` yields: the one place that changes a gallery.

    gallery: the one it writes to, which follows its commits.
    """

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self._stored: _Stored | None = None

    def known_files(self, archive: str) -> dict[str, KnownFile]:
        """Return by uri the files of `archive` that are embedded, or rejected as a whole.

        A file in both states was being replaced when a writer was killed; it counts as unknown.
        """
        of_archive = f"archive = {text_literal(archive)}"
        columns = ["uri", "size", "mtime_ns", "source_digest"]
        embedded = known_files_of(self.gallery._images.read(columns, of_archive))
        rejected = known_files_of(self.gallery._rejected.read(columns, f"{of_archive} AND frame IS NULL"))
        torn = embedded.keys() & rejected.keys()
        return {uri: file for uri, file in (embedded | rejected).items() if uri not in torn}

    def commit(
        self,
        instances: Sequence[Instance],
        thumbnails: Sequence[bytes],
        embeddings: np.ndarray,
        rejected: Sequence[RejectedFile],
    ) -> np.ndarray:
        """Store one batch of whole files in place of all that the gallery held of these files before.

        Returns the image_ids of the new rows, (N,) int64.
        instances: their image_id is not looked at; the gallery numbers them and uses no number twice.
        embeddings: (N, D) unit rows; stored as float16. Raises GalleryError for rows that are not finite or
        not of norm 1 and for a disk that takes no more, InvalidMetadata for sidecar columns that do not fit.
        """
        gallery = self.gallery
        stored = self._settled()
        embeddings = np.asarray(embeddings, np.float32)
        if not len(instances) == len(thumbnails) == len(embeddings):
            raise ValueError(
                f"{len(instances)} instances, {len(thumbnails)} thumbnails, {len(embeddings)} embeddings"
            )
        _refuse_unusable(gallery, embeddings)
        if added := new_columns(instances, gallery._images.schema):
            gallery._advance(gallery._images.with_columns(added), gallery._rejected)
        rows = images_table(instances, thumbnails, embeddings, stored.next_id, gallery._images.schema)
        files = {(instance.archive, instance.uri) for instance in instances}
        self._replace(files | {(file.archive, file.uri) for file in rejected}, rows, rejected, stored)
        return np.arange(stored.next_id, stored.next_id + len(instances))

    def remove(self, archive: str, uris: Iterable[str]) -> None:
        """Take these files out of the gallery."""
        stored = self._settled()
        self._replace({(archive, uri) for uri in uris}, self.gallery._images.schema.empty_table(), (), stored)

    def _settled(self) -> "_Stored":
        """Return what is stored, read anew if the commit before did not come to its end."""
        if self._stored is None:
            self.gallery.refresh()
            self._stored = _Stored.of(self.gallery)
        return self._stored

    def _replace(
        self, files: set[tuple[str, str]], rows: pa.Table, rejected: Sequence[RejectedFile], stored: "_Stored"
    ) -> None:
        gallery = self.gallery
        # Unsettled until the end: Ctrl-C or a full disk can come after any of the commits.
        self._stored = None
        replaced = {file for file in files if hash(file) in stored.files}
        if replaced and not len(rows):
            # The rows that go may be the last ones, which show the highest id.
            gallery._advance(gallery._images.with_note(_NEXT_ID, str(stored.next_id)), gallery._rejected)
        # Rejections first: a writer killed in between leaves a file with its old images, or with none and
        # perhaps a rejected frame. `known_files` has it in its old state or not at all: the next run does it
        # again.
        gallery._advance(gallery._images, gallery._rejected.with_rows(rejected_table(rejected), replaced))
        gallery._advance(gallery._images.with_rows(rows, replaced), gallery._rejected)
        stored.files.update(map(hash, files))
        self._stored = _Stored(stored.files, stored.next_id + len(rows))


@dataclass(frozen=True, slots=True)
class _Stored:
    """What a writer must know of the rows there are.

    files: hashes of (archive, uri), a tenth of the memory of the names. next_id: above every id used.
    """

    files: set[int]
    next_id: int

    @classmethod
    def of(cls, gallery: Gallery) -> "_Stored":
        files: set[int] = set()
        for table in (gallery._images, gallery._rejected):
            names = table.read(["archive", "uri"])
            files.update(map(hash, zip(names["archive"].to_pylist(), names["uri"].to_pylist(), strict=True)))
        ids = gallery.select(None)
        # The rows show the highest id, unless the last of them were taken out: then it is noted.
        noted = int(gallery._images.note(_NEXT_ID) or 1)
        return cls(files, max(noted, int(ids[-1]) + 1 if len(ids) else 1))


def _differences(stored: PreprocessSpec, asked: PreprocessSpec) -> str:
    """Return what of the preprocessing is not as it was."""
    return "; ".join(
        f"pictures were made with {field.name} {was}, not {now}"
        for field in fields(PreprocessSpec)
        if (was := getattr(stored, field.name)) != (now := getattr(asked, field.name))
    )


def _refuse_unusable(gallery: Gallery, embeddings: np.ndarray) -> None:
    if not len(embeddings):
        return
    if embeddings.shape[1:] != (gallery.meta.dim,):
        raise GalleryError(
            f"{gallery.path}: embeddings {embeddings.shape} for a gallery of dimension {gallery.meta.dim}. "
            "Use the encoder that the gallery was made with"
        )
    norms = np.sqrt(np.sum(np.square(embeddings, dtype=np.float64), axis=-1))
    bad = ~(np.abs(norms - 1) <= UNIT_NORM_TOLERANCE)
    if bad.any():
        raise GalleryError(
            f"{gallery.path}: {bad.sum()} of {len(embeddings)} embeddings do not have norm 1 (one has "
            f"{norms[bad][0]:.4g}), so this batch was not stored. Check the encoder's weights and precision"
        )
