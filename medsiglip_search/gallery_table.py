"""One table of a gallery on disk: the only module that imports Lance, and the home of its errors.

A `Table` is one version; what changes a table returns the next. Lance is not safe in forked processes.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
from lance.fragment import write_fragments

from medsiglip_search.errors import GalleryDamaged, GalleryError

HOW_TO_RESTORE = "Restore the gallery from a copy, or index the archives into a new one"

# Lance ends its messages with the place in its own source.
_SOURCE_PLACE = re.compile(r",\s*/\S+\.rs:\d+.*", re.DOTALL)


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
        with _writing(path):
            lance.write_dataset(schema.empty_table(), str(path))

    @classmethod
    def open(cls, path: Path) -> "Table":
        """Open the newest version. Raises GalleryDamaged."""
        if not path.is_dir():
            raise GalleryDamaged(f"{path}: missing. {HOW_TO_RESTORE}")
        with _reading(path):
            return cls(path, lance.dataset(str(path)))

    @property
    def version(self) -> int:
        """Grows by at least one with every commit."""
        return self._dataset.version

    @property
    def committed_at(self) -> str:
        """When this version was written, to the microsecond."""
        return str(self._dataset.get_version()["timestamp"])

    def __len__(self) -> int:
        return self._dataset.count_rows()

    def read(self, columns: Sequence[str], condition: str | None = None) -> pa.Table:
        """Return these columns of the rows that fit `condition`, in the order in which they were appended.

        Raises ConditionRefused, GalleryDamaged.
        """
        if condition is not None:
            # Planned alone first: what fails here is the condition.
            try:
                self._dataset.scanner(list(columns), filter=condition).explain_plan()
            except (ValueError, OSError, RuntimeError) as error:
                raise ConditionRefused(reason(error)) from None
        with _reading(self.path):
            try:
                return self._dataset.to_table(list(columns), filter=condition)
            except ValueError as error:
                if condition is None:
                    raise
                # A cast or a division that fails on one row, unless no row can be read at all.
                for _ in self._dataset.to_batches():
                    pass
                raise ConditionRefused(reason(error)) from None

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield these columns piece by piece, in the order of `read`."""
        with _reading(self.path):
            # By default Lance reads hundreds of megabytes ahead, which makes it slower here.
            yield from self._dataset.to_batches(
                columns=list(columns), batch_size=2048, batch_readahead=2, fragment_readahead=1
            )

    def take(self, places: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Return the rows at `places`, 0-based in the order of `read`, in the order asked."""
        with _reading(self.path):
            return self._dataset.take(places, columns=list(columns))

    def with_rows(self, rows: pa.Table, instead_of: Collection[tuple[str, str]]) -> "Table":
        """Append `rows` and take out all rows of the files `instead_of`, in one commit.

        Raises GalleryError if the disk does not take it; the table is then as before.
        """
        places = self._addresses(instead_of)
        with _writing(self.path):
            if not len(places):
                if not len(rows):
                    return self
                return Table(self.path, lance.write_dataset(rows, self._dataset, mode="append"))
            added = write_fragments(rows, self._dataset, mode="append") if len(rows) else []
            # An address is the fragment in the upper 32 bits and the row in it in the lower.
            changed, emptied = [], []
            for fragment_id in np.unique(places >> 32):
                inside = places[places >> 32 == fragment_id] & 0xFFFFFFFF
                fragment = self._dataset.get_fragment(int(fragment_id))
                left = fragment.delete_rows(inside.tolist())  # type: ignore[union-attr]
                if left is None:
                    emptied.append(int(fragment_id))
                else:
                    changed.append(left)
            operation = lance.LanceOperation.Update(
                removed_fragment_ids=emptied, updated_fragments=changed, new_fragments=list(added)
            )
            return Table(
                self.path, lance.LanceDataset.commit(self._dataset, operation, read_version=self.version)
            )

    def with_columns(self, fields: Sequence[pa.Field]) -> "Table":
        """Add columns without values, in one commit that rewrites no row."""
        with _writing(self.path):
            dataset = lance.dataset(str(self.path))
            dataset.add_columns(pa.schema(fields))
            return Table(self.path, dataset)

    def with_note(self, key: str, value: str) -> "Table":
        """Keep a value beside the rows, in one commit."""
        with _writing(self.path):
            dataset = lance.dataset(str(self.path))
            dataset.update_config({key: value})
            return Table(self.path, dataset)

    def note(self, key: str) -> str | None:
        """Return what `with_note` kept."""
        return self._dataset.config().get(key)

    def _addresses(self, files: Collection[tuple[str, str]]) -> np.ndarray:
        """Return the physical addresses, (N,) uint64, of all rows of `files`."""
        uris: dict[str, list[str]] = {}
        for archive, uri in files:
            uris.setdefault(archive, []).append(text_literal(uri))
        found = [np.empty(0, np.uint64)]
        with _reading(self.path):
            for archive, names in uris.items():
                condition = f"archive = {text_literal(archive)} AND uri IN ({', '.join(names)})"
                rows = self._dataset.to_table(columns=["uri"], filter=condition, with_row_address=True)
                found.append(rows["_rowaddr"].to_numpy())
        return np.concatenate(found)


def text_literal(text: str) -> str:
    """Return `text` as it stands in a condition."""
    return "'" + text.replace("'", "''") + "'"


def reason(error: BaseException) -> str:
    """Return Lance's message on one line, without the place in its source."""
    return " ".join(_SOURCE_PLACE.sub("", str(error)).split())


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not _is_of_lance(error):
            raise
        raise GalleryDamaged(f"{path}: cannot be read: {reason(error)[:200]}. {HOW_TO_RESTORE}") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not _is_of_lance(error):
            raise
        raise GalleryError(
            f"{path}: cannot be written: {reason(error)[:200]}. What was committed before is kept; run again"
        ) from error


def _is_of_lance(error: BaseException) -> bool:
    # A panic in Lance's Rust code arrives as a BaseException whose class cannot be imported.
    return isinstance(error, (OSError, ValueError, RuntimeError)) or type(error).__name__ == "PanicException"
