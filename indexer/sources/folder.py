"""A folder tree as an archive."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from indexer.sources import Entry
from indexer.sources.names import WHOLE, storable, unstored


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on a local disk."""

    path: str

    def content(self) -> Path:
        """Return its path."""
        return Path(self.path)


class FolderSource:
    """Every file below one folder, hidden ones included, sorted by name within each folder.

    A link to a file counts under the link's own name. A link to a folder is followed after everything that
    really lies in the archive, and only to a folder not walked yet: loops end, and a file that can be reached
    in two ways keeps its real name.
    """

    def __init__(self, root: Path, leave_out: Iterable[Path] = ()) -> None:
        """Take `root`, a folder's absolute path without links, less the files and folders of `leave_out`."""
        self.archive = storable(str(root))
        self._root = str(root)
        self._left_out = {_identity(path.stat()) for path in leave_out if path.exists()}
        # A link to a folder that holds the archive would bring in everything beside the archive.
        self._above = {_identity(path.stat()) for path in root.parents}

    def entries(self) -> Iterator[Entry]:
        """Yield an entry per file; a folder that cannot be listed is an entry with a `problem`, too."""
        walked = self._left_out | self._above
        tops = [_Place(self._root, "")]
        while tops:
            linked: list[_Place] = []
            for top in tops:
                yield from self._walk(top, walked, linked)
            tops = linked

    def holds(self, uri: str) -> bool:
        """Tell whether the file is still there, or behind a folder that does not let one see."""
        return any(_may_exist(f"{self._root}/{name}") for name in {uri, unstored(uri)})

    def _walk(self, top: "_Place", walked: set[tuple[int, int]], linked: list["_Place"]) -> Iterator[Entry]:
        """Yield the entries below `top`; folders that are links go to `linked` instead."""
        stack = [top]
        while stack:
            place = stack.pop()
            try:
                status = os.stat(place.path)
                is_folder = stat.S_ISDIR(status.st_mode)
                if is_folder and place is not top and os.path.islink(place.path):
                    linked.append(place)
                    continue
                if _identity(status) in (walked if is_folder else self._left_out):
                    continue
                names = os.listdir(place.path) if is_folder else []
            except OSError as error:
                # The error's own text would name the path.
                yield self._entry(place, problem=f"cannot be read: {os.strerror(error.errno or 0).lower()}")
                continue
            if is_folder:
                walked.add(_identity(status))
                stack += [place.inside(name) for name in sorted(names, reverse=True)]
            elif stat.S_ISREG(status.st_mode):
                yield self._entry(place, status.st_size, status.st_mtime_ns)
            else:
                # Opening a FIFO would wait for a writer, for ever if need be.
                yield self._entry(place, problem="neither a file nor a folder")

    def _entry(self, place: "_Place", size: int = 0, mtime_ns: int = 0, problem: str | None = None) -> Entry:
        uri = storable(place.name) or WHOLE
        return Entry(self.archive, uri, size, mtime_ns, LocalFile(place.path), problem)


class _Place(NamedTuple):
    """A file or folder. name: relative to the archive, "" for the archive itself."""

    path: str
    name: str

    def inside(self, name: str) -> "_Place":
        return _Place(os.path.join(self.path, name), f"{self.name}/{name}" if self.name else name)


def _may_exist(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null character
        return False
    except OSError:
        return True
    return True


def _identity(status: os.stat_result) -> tuple[int, int]:
    """Return what two paths to the same file or folder share."""
    return status.st_dev, status.st_ino
