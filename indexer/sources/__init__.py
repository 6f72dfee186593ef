"""Where files come from. A new kind of archive is one module with a class that fits `Source`."""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from medsiglip_search.errors import ArchiveNotFound

Key = tuple[str, str]
"""Archive and uri."""


class SourceFile(Protocol):
    """Where the bytes of one file are. To be asked from any thread, several files of an archive at once."""

    def content(self) -> Path | bytes:
        """Return what decoders open: a path where the file lies on a local disk, else all its bytes.

        Raises OSError; Unreadable, also for more bytes than are held in memory, or for other ones than were
        listed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive, as it stood when the archive was listed.

    archive: where the archive stands; the same text in every run.
    uri: the file's name inside the archive, unique there, parts joined by "/".
    size: in bytes; mtime_ns: last change, in nanoseconds since 1970, or what else differs after each change.
        Either is cut to what the gallery holds, 64 bits: some disks have times after the year 2262.
    file: where to read it.
    problem: why it must not be opened, where listing already tells; size and mtime_ns are 0 then.
    """

    archive: str
    uri: str
    size: int
    mtime_ns: int
    file: SourceFile
    problem: str | None = None

    def __post_init__(self) -> None:
        for name in ("size", "mtime_ns"):
            object.__setattr__(self, name, min(max(getattr(self, name), -(2**63)), 2**63 - 1))

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
        """Yield every file once, one by one, in an order that the content of the archive decides."""
        ...

    def holds(self, uri: str) -> bool:
        """Tell whether the file is still there; also where that cannot be told, as behind a closed folder."""
        ...


def open_source(archive: str, leave_out: Iterable[Path] = ()) -> Source:
    """Return the source for `archive`: a folder, a tar or zip file (by its content), or a URL.

    leave_out: files and folders that are not listed. Raises ArchiveNotFound if nothing that can be listed
    stands there.
    """
    if not archive:
        raise ArchiveNotFound(f"no archive given; name {_WHAT_TO_GIVE}")
    if url := _LOCAL_URL.match(archive):
        archive = unquote(url["path"])
    elif _URL.match(archive):
        from indexer.sources.remote import RemoteSource

        return RemoteSource(archive)
    path = _existing(archive)
    try:
        return _open_folder(path, leave_out) if path.is_dir() else _open_packed(path)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise ArchiveNotFound(f"{archive}: cannot be read: {why}; ask for read permission") from None


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LOCAL_URL = re.compile(r"(?:file|local)://(?:localhost)?(?P<path>/.*)", re.DOTALL)
_WHAT_TO_GIVE = "a folder of images, a tar or zip file, or a URL"


def _existing(archive: str) -> Path:
    try:
        return Path(archive).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # missing; a loop of links; a null character
        raise ArchiveNotFound(f"{archive}: no such archive; give {_WHAT_TO_GIVE}") from None


def _open_folder(path: Path, leave_out: Iterable[Path]) -> Source:
    from indexer.sources.folder import FolderSource

    with os.scandir(path):  # raises if it may not be listed
        return FolderSource(path, leave_out)


def _open_packed(path: Path) -> Source:
    from indexer.sources.packed import PackedSource
    from indexer.sources.tar import TarPack
    from indexer.sources.zip import ZipPack

    # A plain tar may hold a zip at its end, which is where a zip is known by.
    for kind in (TarPack, ZipPack) if path.is_file() else ():
        with contextlib.suppress(ValueError):
            return PackedSource(path, kind(path))
    raise ArchiveNotFound(
        f"{path}: neither a folder nor a tar or zip file, or a damaged one; give {_WHAT_TO_GIVE}"
    )
