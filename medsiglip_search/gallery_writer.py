"""The one place that changes a gallery."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from medsiglip_search import gallery_folder
from medsiglip_search.errors import GalleryDamaged, GalleryError
from medsiglip_search.gallery_folder import IMAGES, REJECTED
from medsiglip_search.gallery_schema import (
    LABEL_COLUMNS,
    UNIT_NORM_TOLERANCE,
    LabelColumn,
    RejectedFile,
    images_table,
    label_columns_note,
    missing_label_columns,
    new_columns,
    rejected_table,
)
from medsiglip_search.gallery_table import ADDRESS, RequireSound, Table
from medsiglip_search.ledger import Ledger
from medsiglip_search.locks import Hold
from medsiglip_search.records import Instance, Run
from medsiglip_search.table_files import DATA

if TYPE_CHECKING:
    from medsiglip_search.gallery import Gallery

VERSIONS_KEPT = timedelta(hours=1)
"""How long a reader can stay on a version while the gallery is written to."""

_NEXT_ID, PURGE = "next_image_id", "purge"
"""Notes beside the images. The second stands from a deletion for good until the bytes are gone."""

# A row is written anew twice at most: when many commits are joined, and by `compact`.
_TIDY_AFTER = 128  # commits
_JOINED_ROWS, _COMPACT_ROWS = 32_768, 1 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Compaction:
    """What the gallery's folder held before and after."""

    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True, slots=True)
class Deletion:
    """How many rows were taken out of each table."""

    images: int
    rejected: int


class GalleryWriter:
    """What `Gallery.writer` yields: the one place that changes a gallery. For one thread at a time.

    gallery: the one it writes to, which follows its commits.
    Every change raises GalleryError where the disk does not take it. What was committed before is then kept,
    and the writer can go on.
    """

    def __init__(self, gallery: "Gallery", hold: Hold) -> None:
        self.gallery = gallery
        self._hold = hold
        self._ledger = Ledger(gallery.path)
        self._ledger.settle(hold.after_interruption)
        # Each commit reads these, and writes what they say into new ones.
        self._ledger.require_sound(name for name in gallery.files() if f"/{DATA}/" not in name)
        self._stored: _Stored | None = None
        self._is_settled = True
        self._running: str | None = None
        self._untidied: int | None = None

    def close(self) -> None:
        """Say that nothing is half done, if that is so."""
        try:
            self._hold.require_own()
            if self._is_settled:
                self._ledger.add_new()  # the report of a run that did not say its end
                self._ledger.clear_away()
            else:
                self._ledger.settle(after_interruption=True)
            self._hold.finish()
        except (GalleryError, OSError) as error:
            log.warning("%s", error)

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
        embeddings = np.asarray(embeddings, np.float32)
        if not len(instances) == len(thumbnails) == len(embeddings):
            raise ValueError(
                f"{len(instances)} instances, {len(thumbnails)} thumbnails, {len(embeddings)} embeddings"
            )
        _refuse_unusable(gallery, embeddings)
        with self._changing() as stored:
            if added := new_columns(instances, gallery._images.schema):
                gallery._advance(images=gallery._images.with_columns(added))
            first_id = stored.next_id
            rows = images_table(instances, thumbnails, embeddings, first_id, gallery._images.schema)
            files = {(instance.archive, instance.uri) for instance in instances}
            files.update((file.archive, file.uri) for file in rejected)
            self._replace(files, rows, rejected, stored)
        self._tidy()
        return np.arange(first_id, first_id + len(instances))

    def remove(self, archive: str, uris: Iterable[str]) -> None:
        """Take these files out of the gallery."""
        with self._changing() as stored:
            nothing = self.gallery._images.schema.empty_table()
            self._replace({(archive, uri) for uri in uris}, nothing, (), stored)

    def touch(self, files: Mapping[tuple[str, str], tuple[int, int]]) -> None:
        """Note that these files, (archive, uri), have another (size, mtime_ns) and the bytes they had.

        Their rows keep their ids. Files that the gallery does not know are passed over.
        """
        gallery = self.gallery
        with self._changing() as stored:
            known = {file: state for file, state in files.items() if file in stored.files}
            gallery._advance(rejected=gallery._rejected.with_states(known))
            gallery._advance(images=gallery._images.with_states(known))

    def note_labels(self, columns: Mapping[str, LabelColumn]) -> None:
        """Know these columns, there or still to come, as ones that hold decisions of labels."""
        with self._changing():
            self._note_labels(columns)

    def write_labels(
        self, columns: Mapping[str, LabelColumn], decisions: Callable[[], Iterable[pa.RecordBatch]]
    ) -> None:
        """Store decisions in text columns, made where they are missing, in one commit for all rows.

        Rows keep their ids, so that an index stays what it is. decisions: called when all columns are there;
        gives them and ADDRESS for every row, in the order of the rows. Raises InvalidMetadata for a column
        that something else made, or a name that cannot be stored.
        """
        gallery = self.gallery
        missing = missing_label_columns(columns, gallery.label_columns(), gallery.schema)
        with self._changing():
            # Known before they are there: a kill in between leaves no column that nobody made.
            self._note_labels(columns)
            if missing:
                gallery._advance(images=gallery._images.with_columns(missing))
            gallery._advance(images=gallery._images.with_values(list(columns), decisions()))

    def delete(self, where: str, for_good: bool = False) -> Deletion:
        """Take out the images that fit `where`, a condition as in `Gallery.select`; return how many.

        With them go the rejections of files that have no image left; and, where the condition names only
        columns that rejections have too (archive, uri, frame, size...), the rejections that fit it.
        They are gone from search at once, and from the disk after `purge`. for_good: a purge follows; it is
        due until it is done, whatever comes between. Raises InvalidQuery.
        """
        gallery = self.gallery
        with self._changing() as stored:
            rows, refused = self._fitting(where)
            if for_good:
                self._note(PURGE, "due")
            # Rejections first: if a kill comes in between, the same condition finds the images again.
            if len(refused):
                gallery._advance(rejected=gallery._rejected.without(refused))
            if len(rows):
                self._note(_NEXT_ID, str(stored.next_id))
                gallery._advance(images=gallery._images.without(rows))
        return Deletion(len(rows), len(refused))

    def compact(self, keep: timedelta = VERSIONS_KEPT) -> Compaction:
        """Write fewer, larger files, and remove the versions that are older than `keep`.

        A reader of a removed version gets GalleryOutdated. An index that has rows which are gone is removed.
        A purge that is due is done too. Raises GalleryDamaged for files that are not as they were written,
        before any of them is written anew.
        """
        if self.gallery.is_purge_due:
            return self.purge()
        compaction = self._compacted(keep, lambda table, check: table.compacted(_COMPACT_ROWS, check))
        with gallery_folder.writing(self.gallery.path):
            gallery_folder.remove_index(self.gallery.path, unless_among=self.gallery.select(None))
        return compaction

    def purge(self) -> Compaction:
        """Remove from the disk whatever is not in the newest version: rows, old versions, the index.

        Ended half-way, it is due until `compact` or another one does it. Raises GalleryDamaged as `compact`.
        """
        with self._changing():
            self._note(PURGE, "due")
        compaction = self._compacted(timedelta(0), lambda table, check: table.compacted(_COMPACT_ROWS, check))
        with self._changing(), gallery_folder.writing(self.gallery.path):
            gallery_folder.remove_index(self.gallery.path)
            self._note(PURGE, "")
        self._forget(timedelta(0))
        files, size = gallery_folder.usage(self.gallery.path)
        return Compaction(compaction.files_before, files, compaction.bytes_before, size)

    def record_run(self, run: Run) -> None:
        """Keep the report of a run: once when it starts, and again, under the same start, when it ends."""
        with self._changing(), gallery_folder.writing(self.gallery.path):
            name = gallery_folder.write_run(self.gallery.path, run)
            self._running = name if run.ended is None else None

    @contextmanager
    def _changing(self) -> Iterator["_Stored"]:
        """Lend what is stored for one change; read it anew if the change before did not come to its end.

        Raises GalleryLocked if the lock's file was removed.
        """
        self._hold.require_own()
        if not self._is_settled:
            self.gallery.refresh()
            self._ledger.settle(after_interruption=True, leave_out=self._running)
            self._stored = None
        if self._stored is None:
            self._stored = _Stored(self.gallery)
        # Ctrl-C or a full disk can come after any of the commits.
        self._is_settled = False
        yield self._stored
        self._ledger.add_new(leave_out=self._running)
        self._is_settled = True

    def _replace(
        self, files: set[tuple[str, str]], rows: pa.Table, rejected: Sequence[RejectedFile], stored: "_Stored"
    ) -> None:
        gallery = self.gallery
        replaced = {file for file in files if file in stored.files}
        if replaced and not len(rows):
            # The rows that go may be the last ones, which show the highest id.
            self._note(_NEXT_ID, str(stored.next_id))
        # Rejections first: a writer killed in between leaves a file with its old images, or with none and
        # perhaps a rejected frame. The indexer finds it in its old state or not at all: the next run does it
        # again.
        gallery._advance(rejected=gallery._rejected.with_rows(rejected_table(rejected), replaced))
        gallery._advance(images=gallery._images.with_rows(rows, replaced))
        stored.files.add(files)
        stored.next_id += len(rows)

    def _fitting(self, where: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the addresses of the images and of the rejections that `delete` takes out.

        The condition is looked at once: it may say random().
        """
        gallery = self.gallery
        images, rejected = gallery._images, gallery._rejected
        columns = ["archive", "uri", ADDRESS]
        rows = gallery._fitting(images, columns, where)
        emptied = set(_files(rows))
        for batch in images.batches(columns):
            stays = np.isin(batch[ADDRESS].to_numpy(), rows[ADDRESS].to_numpy(), invert=True)
            emptied.difference_update(_files(batch.filter(pa.array(stays))))
        refused = [np.empty(0, np.uint64)]
        if rejected.takes(gallery._condition(where)):
            refused.append(gallery._fitting(rejected, columns, where)[ADDRESS].to_numpy())
        for batch in rejected.batches(columns) if emptied else ():
            goes = np.fromiter((file in emptied for file in _files(batch)), bool)
            refused.append(batch[ADDRESS].to_numpy()[goes])
        return rows[ADDRESS].to_numpy(), np.unique(np.concatenate(refused))

    def _note(self, key: str, value: str) -> None:
        images = self.gallery._images
        if (images.note(key) or "") != value:
            self.gallery._advance(images=images.with_note(key, value))

    def _note_labels(self, columns: Mapping[str, LabelColumn]) -> None:
        if columns:
            self._note(LABEL_COLUMNS, label_columns_note({**self.gallery.label_columns(), **columns}))

    def _tidy(self) -> None:
        """Now and then join what commits have written: each commit and each opening reads where all lies."""
        tables = self.gallery._images, self.gallery._rejected
        if self._untidied is None:
            self._untidied = max(table.parts_below(_JOINED_ROWS) for table in tables)
        else:
            self._untidied += 1
        if self._untidied > _TIDY_AFTER:
            self._untidied = 0
            try:
                self._compacted(VERSIONS_KEPT, lambda table, check: table.joined(_JOINED_ROWS, check))
            except GalleryDamaged:
                raise
            except GalleryError as error:  # no room for the joined files, perhaps; the commit stands
                log.warning("%s", error)

    def _compacted(self, keep: timedelta, compacted: Callable[[Table, RequireSound], Table]) -> Compaction:
        gallery = self.gallery
        files_before, bytes_before = gallery_folder.usage(gallery.path)
        with self._changing():
            gallery._advance(images=compacted(gallery._images, self._require_sound_in(IMAGES)))
            gallery._advance(rejected=compacted(gallery._rejected, self._require_sound_in(REJECTED)))
        # Listed before anything goes: a kill then leaves names too many in the list, never too few.
        self._forget(keep)
        files_after, bytes_after = gallery_folder.usage(gallery.path)
        return Compaction(files_before, files_after, bytes_before, bytes_after)

    def _require_sound_in(self, table: str) -> RequireSound:
        return lambda files: self._ledger.require_sound(f"{table}/{file}" for file in files)

    def _forget(self, keep: timedelta) -> None:
        with self._changing():
            for table in (self.gallery._images, self.gallery._rejected):
                table.forget(keep)
            self._ledger.write_anew(leave_out=self._running)


class _Stored:
    """What a writer must know of the rows there are, read when first asked for."""

    def __init__(self, gallery: "Gallery") -> None:
        self._gallery = gallery

    @cached_property
    def next_id(self) -> int:
        """Above every id used."""
        ids = self._gallery.select(None)
        # The rows show the highest id, unless the last of them were taken out: then it is noted.
        noted = int(self._gallery._images.note(_NEXT_ID) or 1)
        return max(noted, int(ids[-1]) + 1 if len(ids) else 1)

    @cached_property
    def files(self) -> "_Files":
        """The files that have a row."""
        hashes = [np.empty(0, np.int64)]
        for batches in (self._gallery.cell_batches, self._gallery.rejected_batches):
            for archives, uris in batches("archive", "uri"):
                hashes.append(np.fromiter(map(hash, zip(archives, uris, strict=True)), np.int64))
        return _Files(np.concatenate(hashes))


class _Files:
    """Tells of files, (archive, uri), whether they were added, by their hashes: 8 bytes each.

    It can say so of one that was not, once in a very long time; that is then looked for and not found.
    """

    def __init__(self, hashes: np.ndarray) -> None:
        self._sorted = np.unique(hashes)
        self._added: set[int] = set()

    def __contains__(self, file: tuple[str, str]) -> bool:
        number = hash(file)
        place = int(np.searchsorted(self._sorted, number))
        return number in self._added or (place < len(self._sorted) and self._sorted[place] == number)

    def add(self, files: Iterable[tuple[str, str]]) -> None:
        self._added.update(map(hash, files))
        if len(self._added) > 100_000:
            self._sorted = np.union1d(self._sorted, np.fromiter(self._added, np.int64))
            self._added.clear()


def _files(rows: pa.Table | pa.RecordBatch) -> Iterator[tuple[str, str]]:
    return zip(rows["archive"].to_pylist(), rows["uri"].to_pylist(), strict=True)


def _refuse_unusable(gallery: "Gallery", embeddings: np.ndarray) -> None:
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
