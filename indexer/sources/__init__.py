"""Where files come from. A new kind of archive is one module with a class that fits `Source`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Key = tuple[str, str]
"""Archive and uri."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive, as it stood when the archive was listed.

    archive: where the archive stands; the same text in every run.
    uri: the file's name inside the archive, unique there, parts joined by "/".
    size: in bytes; mtime_ns: last change, in nanoseconds since 1970.
    path: where to read it.
    problem: why it must not be opened, where listing already tells; size and mtime_ns are 0 then.
    """

    archive: str
    uri: str
    size: int
    mtime_ns: int
    path: Path
    problem: str | None = None

    @property
    def key(self) -> Key:
        """What names the file among all archives."""
        return self.archive, self.uri


class Source(Protocol):
    """An archive that can be listed.

    archive: as in `Entry`.
    """

    archive: str

    def entries(self) -> Iterator[Entry]:
        """Yield every file once, in an order that depends on the archive's content alone."""
        ...


def open_source(archive: str, leave_out: Iterable[Path] = ()) -> Source:
    """Return the source for `archive`, less the files and folders of `leave_out`.

    Raises ArchiveNotFound if nothing that can be listed stands there.
    """
    from indexer.sources.folder import FolderSource

    return FolderSource(archive, leave_out)
