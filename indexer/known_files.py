"""What a gallery knows of the files of some archives, 25 bytes for each of them."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from indexer.sources import Entry, Key
from medsiglip_search.gallery import Gallery

# What is known of a file, a bit each: it has rows with embeddings; it, or a frame of it, stands rejected; it
# is rejected as a whole; its rows must be made anew; this run has met it.
_EMBEDDED, _REJECTED, _WHOLE, _OUTDATED, _MET = (1 << bit for bit in range(5))

_ROW = np.dtype([("key", np.int64), ("state", np.int64), ("digest", np.int64), ("flags", np.uint8)])


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as it stood when it was last indexed.

    state: see `state_of`. digest: the hash of its source_digest, None where it could not be read.
    has_rejections: it stands rejected, or one of its frames does.
    is_outdated: its rows must be made anew, whatever it holds now.
    """

    state: int
    digest: int | None
    is_embedded: bool
    has_rejections: bool
    is_outdated: bool


def state_of(entry: Entry) -> int:
    """Return the hash of what listing tells of a file: size and time, or the problem that it has."""
    return hash((entry.size, entry.mtime_ns)) if entry.problem is None else hash(entry.problem)


class KnownFiles:
    """The files of some archives that a gallery holds, and which of them a run has met.

    Only hashes of 64 bits are kept: a file that changed is taken for one that did not if those of its state,
    or of its digests, happen to be equal, which is once in 2^64.

    met_archives: those of which this run has met an embedded file.
    """

    def __init__(self, gallery: Gallery, archives: Collection[str]) -> None:
        """gallery: read when a file is first asked for, and not later."""
        self._gallery = gallery
        self._archives = archives
        self.met_archives: set[str] = set()

    @cached_property
    def _rows(self) -> np.ndarray:
        """One row per file, `_ROW`, in the order of the keys."""
        columns = "archive", "uri", "size", "mtime_ns", "source_digest"
        # Images first: where a file has rows in both tables, theirs tell its state.
        parts = [self._of_images(*cells) for cells in self._gallery.cell_batches(*columns)]
        rejected = self._gallery.rejected_batches(*columns, "frame", "message")
        parts += [self._of_rejected(*cells) for cells in rejected]
        rows = np.concatenate([np.empty(0, _ROW), *parts])
        rows = rows[np.argsort(rows["key"], kind="stable")]
        first = np.flatnonzero(np.diff(rows["key"], prepend=rows["key"][:1] - 1))
        files = rows[first]
        if len(files):
            files["flags"] = np.bitwise_or.reduceat(rows["flags"], first)
        return files

    @cached_property
    def _keys(self) -> memoryview:
        # Not searched by numpy, which lets other threads go first at every look.
        return np.ascontiguousarray(self._rows["key"]).data

    def find(self, key: Key) -> KnownFile | None:
        """Return what is known of a file, None if nothing is.

        Nothing is certain of a file that a killed writer was at: one that is embedded and rejected as a
        whole, or of which there are rejected frames alone.
        """
        place = self._place(key)
        return None if place is None else self._file(place)

    def meet(self, key: Key) -> KnownFile | None:
        """Note that the file is there, and return what is known of it."""
        place = self._place(key)
        if place is None:
            return None
        if self._rows["flags"][place] & _EMBEDDED:
            self.met_archives.add(key[0])
        self._rows["flags"][place] |= _MET
        return self._file(place)

    def outdate(self, keys: Iterable[Key]) -> None:
        """Note files whose rows must be made anew."""
        for key in keys:
            if (place := self._place(key)) is not None:
                self._rows["flags"][place] |= _OUTDATED

    def is_missing(self, key: Key) -> bool:
        """Tell whether the gallery held the file before this run, which has not met it."""
        place = self._place(key)
        return place is not None and not self._rows["flags"][place] & _MET

    def is_outlived(self, key: Key) -> bool:
        """Tell whether a file stands rejected because it could not be read, and this run has not met it."""
        file = self.find(key)
        return file is not None and file.digest is None and not file.is_embedded and self.is_missing(key)

    def is_embedded(self, key: Key) -> bool:
        """Tell whether the gallery held images of the file before this run."""
        place = self._place(key)
        return place is not None and bool(self._rows["flags"][place] & _EMBEDDED)

    @property
    def missing(self) -> int:
        """How many files this run has not met."""
        return int(np.count_nonzero(self._rows["flags"] & _MET == 0))

    def _file(self, place: int) -> KnownFile | None:
        _, state, digest, flags = self._rows[place].item()
        is_embedded = bool(flags & _EMBEDDED)
        if is_embedded == bool(flags & _WHOLE):
            return None
        return KnownFile(
            state,
            digest or None,
            is_embedded,
            bool(flags & _REJECTED),
            bool(flags & _OUTDATED),
        )

    def _place(self, key: Key) -> int | None:
        hashed = hash(key)
        place = bisect_left(self._keys, hashed)
        return place if place < len(self._keys) and self._keys[place] == hashed else None

    def _of_images(self, *columns: list) -> np.ndarray:
        def rows() -> Iterator[tuple[int, int, int, int]]:
            for archive, uri, size, mtime_ns, digest in zip(*columns, strict=True):
                if archive in self._archives:
                    yield hash((archive, uri)), hash((size, mtime_ns)), hash(digest), _EMBEDDED

        return np.fromiter(rows(), _ROW)

    def _of_rejected(self, *columns: list) -> np.ndarray:
        def rows() -> Iterator[tuple[int, int, int, int]]:
            for archive, uri, size, mtime_ns, digest, frame, message in zip(*columns, strict=True):
                if archive in self._archives:
                    # What could not be read stands as it is only if its listing tells the same problem again.
                    state = hash((size, mtime_ns)) if digest else hash(message)
                    flags = _REJECTED if frame is not None else _REJECTED | _WHOLE
                    yield hash((archive, uri)), state, hash(digest), flags

        return np.fromiter(rows(), _ROW)
