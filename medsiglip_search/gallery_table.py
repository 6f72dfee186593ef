"""One table of a gallery on disk: the only module that imports Lance, and the home of its errors.

A `Table` is one version; what changes a table returns the next. Lance is not safe in forked processes.
"""

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import lance
import numpy as np
import pyarrow as pa
from lance.bitmap import Bitmap
from lance.file import LanceFileWriter
from lance.fragment import DataFile, FragmentMetadata, write_fragments
from lance.optimize import Compaction, CompactionOptions

from medsiglip_search import table_files
from medsiglip_search.errors import GalleryDamaged, GalleryOutdated
from medsiglip_search.table_files import (
    DATA,
    HOW_TO_RESTORE,
    VERSIONS,
    manifest_name,
    newest_version,
    reading,
    reason,
    writing,
)

STORAGE_VERSION: Final = "2.1"
"""Of the data files. Beside its embedding a row takes 133 bytes, and 344 in version 2.0."""

ROWS_AT_ONCE = 2048
READ_AHEAD_BYTES = 64 << 20
WRITE_CACHE_BYTES = 32 << 20

_REPLACED = -2
"""What Lance writes in place of a field's id in the file that held the field before."""


ADDRESS: Final = "_rowaddr"
"""A column that every table has: where a row lies in it. It is another after each commit."""

RequireSound = Callable[[Iterable[str]], None]
"""Raises GalleryDamaged unless these files, named below a table, are as they were written."""


class ConditionRefused(Exception):
    """A filter that the table cannot apply; the message is Lance's."""


class Table:
    """One version of a table whose rows belong to files, each named by (archive, uri).

    schema: the columns of this version.
    """

    def __init__(self, path: Path, dataset: lance.LanceDataset) -> None:
        self.path = path
        self.schema: pa.Schema = dataset.schema
        self._dataset = dataset

    @classmethod
    def create(cls, path: Path, schema: pa.Schema) -> None:
        """Write an empty table. Raises GalleryError if the disk does not take it."""
        with writing(path):
            lance.write_dataset(schema.empty_table(), str(path), data_storage_version=STORAGE_VERSION)

    @classmethod
    def open(cls, path: Path, version: int | None = None) -> "Table":
        """Open a version, the newest by default. Raises GalleryDamaged."""
        if not path.is_dir():
            raise GalleryDamaged(f"{path}: missing. {HOW_TO_RESTORE}")
        while True:
            newest = newest_version(path)
            try:
                with reading(path):
                    return cls(path, lance.dataset(str(path), version=version))
            except GalleryDamaged:
                # What was the newest version can be gone by now.
                if newest_version(path) == newest:
                    raise

    @property
    def version(self) -> int:
        """Grows by at least one with every commit."""
        return self._dataset.version

    @property
    def committed_at(self) -> str:
        """When this version was written, to the microsecond."""
        return str(self._dataset.get_version()["timestamp"])

    def parts_below(self, rows: int) -> int:
        """Return how many of the parts that commits have made hold fewer rows."""
        return sum(part.physical_rows < rows for part in self._dataset.get_fragments())

    def __len__(self) -> int:
        return self._dataset.count_rows()

    def read(self, columns: Sequence[str], condition: str | None = None) -> pa.Table:
        """Return these columns of the rows that fit `condition`, in the order in which they were appended.

        Raises ConditionRefused, GalleryDamaged.
        """
        if condition is not None:
            self._plan(condition)
        with self._reading():
            try:
                return self._dataset.to_table(list(columns), filter=condition)
            except ValueError as error:
                if condition is None:
                    raise
                # A cast or a division that fails on one row, unless no row can be read at all.
                for _ in self._dataset.to_batches():
                    pass
                raise ConditionRefused(reason(error)) from None

    def takes(self, condition: str) -> bool:
        """Tell whether a condition makes sense here: whether it names columns of this table alone."""
        try:
            self._plan(condition)
        except ConditionRefused:
            return False
        return True

    def batches(
        self, columns: Sequence[str], condition: str | None = None, start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Yield these columns piece by piece, in the order of `read`, which takes the same condition.

        start: how many of the rows to pass over.
        """
        with self._reading():
            # By default Lance reads up to two gigabytes ahead of a slow consumer.
            yield from self._dataset.to_batches(
                columns=list(columns),
                filter=condition,
                offset=start or None,
                batch_size=ROWS_AT_ONCE,
                batch_readahead=2,
                fragment_readahead=1,
                io_buffer_size=READ_AHEAD_BYTES,
            )

    def take(self, places: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Return the rows at `places`, 0-based in the order of `read`, in the order asked."""
        with self._reading():
            return self._dataset.take(places, columns=list(columns))

    def files(self) -> list[str]:
        """Return the paths, below the table's own, of the files that this version is made of."""
        with self._reading():
            tracked = self._dataset.tracked_files(min_version=self.version).read_all().to_pylist()
        files = sorted(file["path"] for file in tracked if file["version"] == self.version)
        if not files:
            raise self._outdated()
        return files

    def with_rows(self, rows: pa.Table, instead_of: Collection[tuple[str, str]]) -> "Table":
        """Append `rows` and take out all rows of the files `instead_of`, in one commit.

        Raises GalleryError if the disk does not take it; the table is then as before.
        """
        return self._changed(self._rows_of(instead_of)[ADDRESS].to_numpy(), rows)

    def without(self, addresses: np.ndarray) -> "Table":
        """Take out the rows at `addresses`, (N,) of the column ADDRESS, in one commit.

        Raises as `with_rows`.
        """
        return self._changed(addresses, self.schema.empty_table())

    def with_states(self, states: Mapping[tuple[str, str], tuple[int, int]]) -> "Table":
        """Give all rows of these files another `size` and `mtime_ns`, in one commit that moves no row.

        Raises as `with_rows`.
        """
        found = self._rows_of(states)
        if not len(found):
            return self
        files = zip(found["archive"].to_pylist(), found["uri"].to_pylist(), strict=True)
        sizes, times = zip(*(states[file] for file in files), strict=True)
        places = found[ADDRESS].to_numpy()
        # Without stable row ids, which these tables do not have, a row's id is its address.
        new = pa.table({"_rowid": places, "size": pa.array(sizes), "mtime_ns": pa.array(times)})
        changed: list[FragmentMetadata] = []
        fields: set[int] = set()
        with writing(self.path):
            for part, inside in _by_part(places):
                fragment, modified = self._dataset.get_fragment(part).update_columns(new.filter(inside))  # type: ignore[union-attr]
                changed.append(fragment)
                fields.update(modified)
            operation = lance.LanceOperation.Update(updated_fragments=changed, fields_modified=sorted(fields))
            return self._committed(operation, changed)

    def with_columns(self, fields: Sequence[pa.Field]) -> "Table":
        """Add columns without values, in one commit that rewrites no row."""
        with writing(self.path):
            dataset = lance.dataset(str(self.path))
            dataset.add_columns(pa.schema(fields))
            return Table(self.path, dataset)

    def with_values(self, columns: Sequence[str], batches: Iterable[pa.RecordBatch]) -> "Table":
        """Give all rows other values in these columns, in one commit that moves no row. Bounded memory.

        batches: the columns and ADDRESS of every row, in the order of `read`. Raises as `with_rows`.
        """
        stored = {field.name(): field.id() for field in self._dataset.lance_schema.fields()}
        ids = [stored[name] for name in columns]
        schema = pa.schema([self.schema.field(name) for name in columns])
        changed: list[FragmentMetadata] = []
        writer: _PartWriter | None = None
        for batch in batches:
            with writing(self.path):
                for part, inside in _by_part(batch[ADDRESS].to_numpy()):
                    if writer is None or writer.part.id != part:
                        changed += [] if writer is None else [writer.finished()]
                        of_part = self._dataset.get_fragment(part).metadata  # type: ignore[union-attr]
                        writer = _PartWriter(self.path, of_part, schema, ids)
                    writer.add(batch.filter(pa.array(inside)))
        with writing(self.path):
            changed += [] if writer is None else [writer.finished()]
            if sum(part.num_rows for part in changed) != len(self):
                raise ValueError(f"values for {sum(part.num_rows for part in changed)} of {len(self)} rows")
            operation = lance.LanceOperation.Update(updated_fragments=changed, fields_modified=sorted(ids))
            return self._committed(operation, changed)

    def with_note(self, key: str, value: str) -> "Table":
        """Keep a value beside the rows, in one commit."""
        with writing(self.path):
            dataset = lance.dataset(str(self.path))
            dataset.update_config({key: value})
            return Table(self.path, dataset)

    def note(self, key: str) -> str | None:
        """Return what `with_note` kept."""
        return self._dataset.config().get(key)

    def compacted(self, part_rows: int, require_sound: RequireSound) -> "Table":
        """Write neighbouring parts of less than `part_rows` rows anew as one, in the order of the rows.

        So are parts of which rows have been taken out. require_sound: called with the files that are about to
        be written anew.
        """
        return self._rewritten(
            {"target_rows_per_fragment": part_rows, "materialize_deletions_threshold": 0.0}, require_sound
        )

    def joined(self, part_rows: int, require_sound: RequireSound) -> "Table":
        """Join neighbouring parts of less than `part_rows` rows, in less time than `compacted`.

        What is there is copied, in a tenth of the memory. Its pages stay as small as they were, so filters
        are slower. Parts of which few rows have been taken out stay too.
        """
        return self._rewritten(
            {"target_rows_per_fragment": part_rows, "compaction_mode": "try_binary_copy"}, require_sound
        )

    def forget(self, older_than: timedelta) -> None:
        """Remove the versions that are so old, but never this newest one, and what killed writers left.

        Files of which only a removed version knows go too; only the one writer may call this.
        """
        with writing(self.path):
            if older_than:
                self._dataset.cleanup_old_versions(older_than, delete_unverified=True)
            else:
                # By number: a clock that was set back leaves versions of the future.
                self._dataset.cleanup_old_versions(retain_versions=1, delete_unverified=True)

    def _changed(self, places: np.ndarray, rows: pa.Table) -> "Table":
        """Append `rows` and take out those at `places`, physical addresses, in one commit."""
        with writing(self.path):
            if not len(places) and not len(rows):
                return self
            added = list(write_fragments(rows, self._dataset, mode="append")) if len(rows) else []
            changed: list[FragmentMetadata] = []
            emptied: list[int] = []
            for part, inside in _by_part(places):
                fragment = self._dataset.get_fragment(part)
                left = fragment.delete_rows((places[inside] & 0xFFFFFFFF).tolist())  # type: ignore[union-attr]
                if left is None:
                    emptied.append(part)
                else:
                    changed.append(left)
            operation = lance.LanceOperation.Update(
                removed_fragment_ids=emptied, updated_fragments=changed, new_fragments=added
            )
            return self._committed(operation, [*added, *changed])

    def _rewritten(self, how: CompactionOptions, require_sound: RequireSound) -> "Table":
        options: CompactionOptions = {
            "batch_size": ROWS_AT_ONCE,
            "io_buffer_size": READ_AHEAD_BYTES,
            "num_threads": 1,
            **how,
        }
        with writing(self.path):
            dataset = lance.dataset(str(self.path))
            tasks = Compaction.plan(dataset, options).tasks
            require_sound(_files_of(part for task in tasks for part in task.fragments))
            done = [task.execute(dataset) for task in tasks]
            self._require_whole(part for rewritten in done for part in rewritten.new_fragments)
            if done:
                Compaction.commit(dataset, done, options)
            return Table(self.path, dataset)

    def _committed(
        self, operation: lance.LanceOperation.BaseOperation, parts: Iterable[FragmentMetadata]
    ) -> "Table":
        """Commit an operation that `parts` were written for."""
        self._require_whole(parts)
        return Table(
            self.path, lance.LanceDataset.commit(self._dataset, operation, read_version=self.version)
        )

    def _require_whole(self, parts: Iterable[FragmentMetadata]) -> None:
        """Raise OSError unless all files of `parts` were written to their ends.

        Lance does not hear of an error in the last write to a file: a disk that is just full leaves it cut.
        """
        for part in parts:
            for file in part.files:
                if not table_files.is_whole(self.path / DATA / file.path):
                    table_files.raise_cut(self.path / DATA / file.path)
            if (deletions := part.deletion_file) is not None:
                path = self.path / deletions.path(part.id)
                if _count_of_deletions(path, deletions.file_type) != deletions.num_deleted_rows:
                    table_files.raise_cut(path)

    def _plan(self, condition: str) -> None:
        # Apart from reading: what fails here is the condition.
        try:
            self._dataset.scanner([], filter=condition, with_row_address=True).explain_plan()
        except (ValueError, OSError, RuntimeError) as error:
            raise ConditionRefused(reason(error)) from None

    def _rows_of(self, files: Collection[tuple[str, str]]) -> pa.Table:
        """Return archive, uri and ADDRESS, the physical address, of all rows of `files`."""
        uris: dict[str, list[str]] = {}
        for archive, uri in files:
            uris.setdefault(archive, []).append(text_literal(uri))
        columns = ["archive", "uri"]
        found = [self.schema.empty_table().select(columns).append_column(ADDRESS, pa.array([], pa.uint64()))]
        with self._reading():
            for archive, names in uris.items():
                condition = f"archive = {text_literal(archive)} AND uri IN ({', '.join(names)})"
                found.append(self._dataset.to_table(columns, filter=condition, with_row_address=True))
        return pa.concat_tables(found)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with reading(self.path):
                yield
        except GalleryDamaged as error:
            if not self._is_removed():
                raise
            raise self._outdated() from error

    def _outdated(self) -> GalleryOutdated:
        return GalleryOutdated(
            f"{self.path}: version {self.version} was removed meanwhile. Open the gallery again"
        )

    def _is_removed(self) -> bool:
        """Tell whether a writer has removed this version's files for they were old."""
        if newest_version(self.path) == self.version:
            return False
        files = [file.path for part in self._dataset.get_fragments() for file in part.data_files()]
        manifest = self.path / VERSIONS / manifest_name(self.version)
        return not manifest.exists() or not all((self.path / DATA / name).exists() for name in files)


class _PartWriter:
    """Writes some columns of one part of a table anew, into a file of their own beside its others."""

    def __init__(self, path: Path, part: FragmentMetadata, schema: pa.Schema, ids: Sequence[int]) -> None:
        """path: the table's. ids: the numbers of the columns in `schema`."""
        self.part = part
        self._ids = ids
        self._schema = schema
        self._path = path / DATA / f"{uuid.uuid4().hex}.lance"
        self._rows = 0
        # By default Lance keeps 8 MB of each column.
        self._writer = LanceFileWriter(
            str(self._path), schema, data_cache_bytes=WRITE_CACHE_BYTES, version=STORAGE_VERSION
        )

    def add(self, rows: pa.RecordBatch) -> None:
        """Take the next rows of the part, with their ADDRESS."""
        places = (rows[ADDRESS].to_numpy() & 0xFFFFFFFF).astype(np.int64)
        self._write(rows, places, int(places[-1]) + 1)

    def finished(self) -> FragmentMetadata:
        """Return the part with the new file, which is whole."""
        nothing = pa.RecordBatch.from_pylist([], schema=self._schema)
        self._write(nothing, np.empty(0, np.int64), self.part.physical_rows)
        self._writer.close()
        major, minor = (int(number) for number in STORAGE_VERSION.split("."))
        own = DataFile(
            self._path.name, [*self._ids], [*range(len(self._ids))], major, minor, self._path.stat().st_size
        )
        files = [*(left for file in self.part.files if (left := self._without_ours(file))), own]
        return replace(self.part, files=files)

    def _write(self, rows: pa.RecordBatch, places: np.ndarray, end: int) -> None:
        """Write the rows that lie at `places` of the part, and nothing for those taken out before `end`."""
        count = end - self._rows
        if count == len(rows):
            batch = rows.select(self._schema.names)
        else:
            from_row = np.full(count, -1)
            from_row[places - self._rows] = np.arange(len(rows))
            indices = pa.array(from_row, mask=from_row < 0)
            batch = rows.select(self._schema.names).take(indices)
        if count:
            self._writer.write_batch(batch)
        self._rows = end

    def _without_ours(self, file: DataFile) -> DataFile | None:
        """Return a file of the part less the columns that are written anew, None if it has no other."""
        fields = [_REPLACED if number in self._ids else number for number in file.fields]
        if all(number == _REPLACED for number in fields):
            return None
        sizes = file.file_major_version, file.file_minor_version, file.file_size_bytes
        return DataFile(file.path, fields, file.column_indices, *sizes, file.base_id)


def _files_of(parts: Iterable[FragmentMetadata]) -> Iterator[str]:
    """Yield the paths, below the table's own, of the files that these parts are made of."""
    for part in parts:
        yield from (f"{DATA}/{file.path}" for file in part.files)
        if part.deletion_file is not None:
            yield part.deletion_file.path(part.id)


def _by_part(addresses: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the parts of a table that rows lie in, each with which of the rows do, (N,) bool."""
    # An address is the fragment in the upper 32 bits and the row in it in the lower.
    parts = addresses >> 32
    for part in np.unique(parts):
        yield int(part), parts == part


def _count_of_deletions(path: Path, kind: str) -> int | None:
    """Return how many rows a deletion file says are deleted, None if it is cut."""
    try:
        if kind == "bitmap":
            return len(Bitmap._from_bytes(path.read_bytes()))  # type: ignore[attr-defined]
        return len(pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all())
    except ValueError:
        return None


def text_literal(text: str) -> str:
    """Return `text` as it stands in a condition."""
    return "'" + text.replace("'", "''") + "'"
