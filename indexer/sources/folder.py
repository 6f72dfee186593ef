"""A folder tree as an archive."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from indexer.sources import Entry
from medsiglip_search.errors import ArchiveNotFound


class FolderSource:
    """Every file below one folder, hidden ones included, sorted by name within each folder.

    A link to a file counts under the link's own name. A link to a folder is followed after everything that
    really lies in the archive, and only to a folder not walked yet: loops end, and a file that can be reached
    in two ways keeps its real name.
    """

    def __init__(self, folder: str, leave_out: Iterable[Path] = ()) -> None:
        """Take `folder` for an archive, less the files and folders of `leave_out`.

        Raises ArchiveNotFound if it is not a folder that can be listed.
        """
        if not folder:
            raise ArchiveNotFound("no archive given; name a folder of images")
        try:
            self.root = Path(folder).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # missing; a loop of links; a null character
            raise ArchiveNotFound(f"{folder}: no such archive; give an existing folder of images") from None
        if not self.root.is_dir():
            raise ArchiveNotFound(f"{folder}: not a folder; give the folder that holds the images")
        if not os.access(self.root, os.R_OK | os.X_OK):
            raise ArchiveNotFound(f"{folder}: may not be listed; ask for read permission")
        self.archive = storable(str(self.root))
        self._left_out = {_identity(path.stat()) for path in leave_out if path.exists()}

    def entries(self) -> Iterator[Entry]:
        """Yield an entry per file; a folder that cannot be listed is an entry with a `problem`, too."""
        # A link to a folder that holds the archive would bring in everything beside the archive.
        walked = self._left_out | {_identity(path.stat()) for path in self.root.parents}
        tops = [self.root]
        while tops:
            linked: list[Path] = []
            for top in tops:
                yield from self._walk(top, walked, linked)
            tops = linked

    def _walk(self, top: Path, walked: set[tuple[int, int]], linked: list[Path]) -> Iterator[Entry]:
        """Yield the entries below `top`; folders that are links go to `linked` instead."""
        stack = [top]
        while stack:
            path = stack.pop()
            try:
                status = path.stat()
                is_folder = stat.S_ISDIR(status.st_mode)
                if is_folder and path != top and path.is_symlink():
                    linked.append(path)
                    continue
                if _identity(status) in (walked if is_folder else self._left_out):
                    continue
                names = os.listdir(path) if is_folder else []
            except OSError as error:
                # The error's own text would name the path.
                yield self._problem(path, f"cannot be read: {os.strerror(error.errno or 0).lower()}")
                continue
            if is_folder:
                walked.add(_identity(status))
                stack += [path / name for name in sorted(names, reverse=True)]
            elif stat.S_ISREG(status.st_mode):
                yield Entry(self.archive, self._uri(path), status.st_size, status.st_mtime_ns, path)
            else:
                # Opening a FIFO would wait for a writer, for ever if need be.
                yield self._problem(path, "neither a file nor a folder")

    def _problem(self, path: Path, message: str) -> Entry:
        return Entry(self.archive, self._uri(path), 0, 0, path, message)

    def _uri(self, path: Path) -> str:
        return storable(path.relative_to(self.root).as_posix())


def storable(name: str) -> str:
    r"""Return `name` with the bytes that are not UTF-8 percent-encoded: b"caf\xe9" becomes "caf%E9".

    Such bytes reach Python as lone surrogates, which no table of text takes.
    """
    return "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in name)


def _identity(status: os.stat_result) -> tuple[int, int]:
    """Return what two paths to the same file or folder share."""
    return status.st_dev, status.st_ino
