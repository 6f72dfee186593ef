"""What a writer that can be killed at any instant has said of its commits, and what must be stored then.

The child appends a line before each change and one after it. So at most the last change is open: it has been
made as a whole or not at all, and everything before it is stored.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medsiglip_search.gallery import Gallery, GalleryWriter
from medsiglip_search.gallery_writer import Deletion

File = tuple[str, str]
"""Archive and uri."""

Row = tuple[str, str, int]
"""Archive, uri and frame."""

Rows = dict[Row, str]
"""What is stored: the digest of each row's embedding."""

GAP_S = 0.05


class Violation(AssertionError):
    """A promise of the gallery that was not kept."""


@dataclass(frozen=True, slots=True)
class Change:
    """One commit: rows of `files` and the rows `removed` go, the rows `added` come."""

    files: frozenset[File]
    removed: frozenset[Row]
    added: Mapping[Row, str]

    def applied(self, rows: Rows) -> Rows:
        """Return what is stored after it."""
        kept = {row: digest for row, digest in rows.items() if not self._takes_out(row)}
        return kept | dict(self.added)

    def _takes_out(self, row: Row) -> bool:
        return row in self.removed or row[:2] in self.files


def digest(embedding: np.ndarray) -> str:
    """Return what tells a row's embedding, (D,), from another, as it is stored."""
    return hashlib.sha256(embedding.astype(np.float16).tobytes()).hexdigest()[:16]


def rows_of(gallery: Gallery) -> tuple[Rows, dict[int, tuple[Row, str]]]:
    """Return what `gallery` holds, by row and by image_id. Raises Violation if a row is there twice."""
    rows: Rows = {}
    by_id: dict[int, tuple[Row, str]] = {}
    cells = gallery.cell_batches("image_id", "archive", "uri", "frame")
    for (ids, *columns), embeddings in zip(cells, gallery.embedding_batches(), strict=True):
        for image_id, row, embedding in zip(ids, zip(*columns, strict=True), embeddings, strict=True):
            if row in rows:
                raise Violation(f"{row} is stored twice")
            rows[row] = digest(embedding)
            by_id[image_id] = row, rows[row]
    return rows, by_id


class Log:
    """The child's end: what it is about to do, and what it has done."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @contextmanager
    def change(self, change: Change) -> Iterator[None]:
        """Write down a change before and after it is made."""
        self._write(
            {
                "files": sorted(change.files),
                "removed": sorted(change.removed),
                "added": [[*row, digest] for row, digest in change.added.items()],
            }
        )
        yield
        self._write({})

    def _write(self, line: Any) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")


def read_log(path: Path) -> tuple[list[Change], Change | None]:
    """Return the changes that were made, and the one that was under way at the end."""
    made: list[Change] = []
    opened: Change | None = None
    for line in path.read_bytes().split(b"\n")[:-1]:
        said = json.loads(line)
        if said:
            opened = _change(said)
        elif opened is not None:
            made.append(opened)
            opened = None
    return made, opened


def _change(said: Any) -> Change:
    return Change(
        frozenset((archive, uri) for archive, uri in said["files"]),
        frozenset((archive, uri, frame) for archive, uri, frame in said["removed"]),
        {(archive, uri, frame): digest for archive, uri, frame, digest in said["added"]},
    )


def count_begun(path: Path) -> int:
    """Return how many changes the child has begun."""
    return sum(line not in (b"", b"{}") for line in path.read_bytes().split(b"\n"))


def logged(log: Log) -> None:
    """Have every writer of this process say to `log` what it does."""
    commit, remove, delete = GalleryWriter.commit, GalleryWriter.remove, GalleryWriter.delete

    def logged_commit(
        self: GalleryWriter, instances: Sequence, thumbnails: Any, embeddings: Any, rejected: Sequence
    ) -> np.ndarray:
        rows = [(one.archive, one.uri, one.frame) for one in instances]
        files = {row[:2] for row in rows} | {(one.archive, one.uri) for one in rejected}
        added = dict(zip(rows, map(digest, np.asarray(embeddings)), strict=True))
        with log.change(Change(frozenset(files), frozenset(), added)):
            return commit(self, instances, thumbnails, embeddings, rejected)

    def logged_remove(self: GalleryWriter, archive: str, uris: Any) -> None:
        uris = list(uris)
        with log.change(Change(frozenset((archive, uri) for uri in uris), frozenset(), {})):
            remove(self, archive, uris)

    def logged_delete(self: GalleryWriter, where: str, for_good: bool = False) -> Deletion:
        found = self.gallery.instances(self.gallery.select(where))
        removed = frozenset((one.archive, one.uri, one.frame) for one in found)
        with log.change(Change(frozenset(), removed, {})):
            return delete(self, where, for_good)

    GalleryWriter.commit = logged_commit  # type: ignore[method-assign]
    GalleryWriter.remove = logged_remove  # type: ignore[method-assign]
    GalleryWriter.delete = logged_delete  # type: ignore[method-assign]
