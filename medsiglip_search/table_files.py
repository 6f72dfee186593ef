"""The files that a table is made of, and what the disk says when they are read and written."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medsiglip_search.errors import GalleryDamaged, GalleryError

HOW_TO_RESTORE = "Restore the gallery from a copy, or index the archives into a new one"

DATA, DELETIONS, VERSIONS = "data", "_deletions", "_versions"
FOLDERS = {VERSIONS: ".manifest", "_transactions": ".txn", DELETIONS: "", DATA: ".lance"}
"""Folders of files that are never written again, and how the names of the files end."""

HINT = "latest_version_hint.json"
"""In the folder of the manifests, one for each version, the file that Lance writes in place."""

# Lance ends its messages with the place in its own source, and names the system's error in one of two ways.
_SOURCE_PLACE = re.compile(r",\s*/\S+\.rs:\d+.*", re.DOTALL)
_SYSTEM_ERROR = re.compile(r"(?:os error|code:) (\d+)")

_DATA_END = b"LANC"


def manifest_name(version: int) -> str:
    """Return the name of the file that makes a version; the newest sorts first."""
    return f"{2**64 - 1 - version:020}.manifest"


def version_of(name: str) -> int | None:
    """Return the version that a file of this name makes, None if it makes none."""
    number = name.removesuffix(".manifest")
    return 2**64 - 1 - int(number) if number.isdigit() and number != name else None


def newest_version(path: Path) -> int | None:
    """Return the newest version that the table at `path` has a manifest of."""
    try:
        versions = map(version_of, os.listdir(path / VERSIONS))
    except OSError:
        return None
    return max((version for version in versions if version is not None), default=None)


def hint_of(version: int) -> bytes:
    """Return what the hint file holds when `version` is the newest."""
    return b'{"version":%d}' % version


def is_whole(data_file: Path) -> bool:
    """Tell whether a data file was written to its end. Raises OSError."""
    with data_file.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - len(_DATA_END)))
        return file.read() == _DATA_END


def raise_cut(path: Path) -> None:
    """Raise what the disk says of a file that was not written to its end."""
    with path.open("ab") as file:  # on a full disk this fails as the writing has, unheard
        file.write(bytes(1 << 16))
        file.flush()
        os.fsync(file.fileno())
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def reason(error: BaseException) -> str:
    """Return Lance's message on one line, without the place in its source."""
    return " ".join(_SOURCE_PLACE.sub("", str(error)).split())


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise GalleryDamaged for what Lance cannot read, GalleryError for what the disk does not give."""
    try:
        yield
    except BaseException as error:
        if not _is_of_lance(error):
            raise
        number = _system_error(error)
        if number in (None, errno.ENOENT):
            raise GalleryDamaged(
                f"{path}: cannot be read: {reason(error)[:200]}. {HOW_TO_RESTORE}"
            ) from error
        raise GalleryError(f"{path}: cannot be read: {os.strerror(number)}. Check the disk") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise GalleryError for what Lance cannot write."""
    try:
        yield
    except BaseException as error:
        if not _is_of_lance(error):
            raise
        number = _system_error(error)
        why = reason(error)[:200] if number is None else os.strerror(number)
        raise GalleryError(
            f"{path}: cannot be written: {why}. What was committed before is kept; run again"
        ) from error


def _is_of_lance(error: BaseException) -> bool:
    # A panic in Lance's Rust code arrives as a BaseException whose class cannot be imported.
    return isinstance(error, (OSError, ValueError, RuntimeError)) or type(error).__name__ == "PanicException"


def _system_error(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = _SYSTEM_ERROR.search(str(error))
    return int(found[1]) if found else None
