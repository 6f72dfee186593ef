"""The files of some archives, listed ahead of whoever works on them."""

import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from indexer.reading import Job
from indexer.side_by_side import drawn_ahead
from indexer.sidecar import is_table
from indexer.sources import Entry, Key, Source
from indexer.sources.names import WHOLE
from medsiglip_search.errors import ArchiveNotFound

FILES_AHEAD = 10_000

log = logging.getLogger(__name__)


class Listing:
    """The files of all archives, archive after archive, without tables that lie beside the pictures.

    To be used inside `with`, where `files` is called once.

    total: files listed so far; to_read: those of them with a job; is_complete: whether that is all of them.
    is_through: whether all of them have been taken from here.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = {source.archive: source for source in sources}
        self.total = self.to_read = 0
        self.is_complete = self.is_through = False
        self._empty = set(self.sources)
        self._closed: set[int] = set()
        self._ended = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.close()

    def files(self, job: Callable[[Entry], Job | None]) -> Iterator[tuple[Entry, Job | None]]:
        """Yield each file and what `job` makes of it, None where it need not be read.

        job: called in a thread that lists at most FILES_AHEAD files ahead, so that what is left can be told.
        """
        yield from self._ended.enter_context(drawn_ahead(self._listed(job), FILES_AHEAD))
        self.is_through = True

    def require_files(self) -> None:
        """Raise ArchiveNotFound if an archive that was listed holds no file."""
        for archive in self._empty:
            raise no_files(archive)

    def could_see(self, key: Key) -> bool:
        """Tell whether listing came to where the file is, or would be: no folder above it kept it out."""
        archive, uri = key
        parts = uri.split("/")
        above = (WHOLE, *("/".join(parts[:depth]) for depth in range(1, len(parts))))
        return not any(hash((archive, folder)) in self._closed for folder in above)

    def is_gone(self, key: Key) -> bool:
        """Tell whether the file was in one of the archives and is there no more."""
        archive, uri = key
        source = self.sources.get(archive)
        return source is not None and not source.holds(uri)

    def _listed(self, job: Callable[[Entry], Job | None]) -> Generator[tuple[Entry, Job | None], None, None]:
        tables = 0
        for archive, source in self.sources.items():
            for entry in source.entries():
                if entry.problem is not None:
                    self._closed.add(hash(entry.key))
                elif is_table(entry):
                    tables += 1
                    continue
                self._empty.discard(archive)
                to_do = job(entry)
                self.to_read += to_do is not None
                self.total += 1
                yield entry, to_do
        self.is_complete = True
        if tables:
            word = "table" if tables == 1 else "tables"
            log.info("%d %s beside the pictures left aside; --metadata joins one to its files", tables, word)


def no_files(archive: str) -> ArchiveNotFound:
    """Return the error for an archive in which there is nothing to do."""
    what = "the folder" if os.path.isdir(archive) else "an archive"
    return ArchiveNotFound(f"{archive}: holds no file to index; give {what} that holds the images")
