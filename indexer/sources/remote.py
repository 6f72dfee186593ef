"""Files behind a URL, such as an object store's, as an archive: whatever fsspec knows."""

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic, time_ns
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import fsspec
from fsspec.dircache import DirCache

from indexer.sources import Entry
from indexer.sources.bounds import check_content
from indexer.sources.names import WHOLE, member_uri, storable
from medsiglip_search.errors import ArchiveNotFound, Reason, Unreadable

T = TypeVar("T")

PATIENCE_S = 60.0
"""For how long a store may fail before it is asked no more in this run."""

MAX_DEPTH = 64
"""Folders inside one another; a server's links may lead round in a circle."""

MAX_ALIKE = 3
"""Folders inside one another of which each holds what the others do, before that is taken for a circle."""

# What differs after a change, as S3, Google, Azure, web servers, SFTP, FTP and others call it.
_TELLTALES = (
    *("ETag", "etag", "Content-MD5", "md5Hash", "generation", "sha", "checksum"),
    *("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "modified", "modify", "created"),
)

# These write container@account where others write user:password@host.
_CONTAINER_FIRST = ("abfs", "abfss", "wasb", "wasbs")

_URL = re.compile(r"(?P<scheme>[^:/]+)://(?:(?P<user>[^/]*)@)?(?P<place>[^?#]*)")

Details = Mapping[str, Any]
"""What a store tells of one file or folder: its name, type, size, and more under names of its own."""

_Above = tuple[int, ...]
"""What is in each folder from the root on, hashed."""


class RemoteSource:
    """Every file below one URL, sorted by name within each folder.

    Asked for folder by folder, so that a long list is neither waited for nor held. The time of change of a
    file is a digest of what its store tells of versions; where that is nothing, each run reads it again.
    """

    def __init__(self, url: str) -> None:
        """Raises ArchiveNotFound if it cannot be listed, or no package that speaks its protocol is there."""
        self.archive = storable(_without_secrets(url))
        self._system, root = _connect(url, self.archive)
        self._root = root.rstrip("/")
        self._is_web = self.archive.startswith(("http://", "https://"))
        self._opened_ns = time_ns()
        self._failing_since: float | None = None
        self._held: tuple[str, set[str]] | None = None
        try:
            self._inside(self._root)
        except Exception as error:  # each protocol has its own
            raise _cannot_list(self.archive, error) from None

    def entries(self) -> Iterator[Entry]:
        """Yield an entry per file; a folder that cannot be listed is an entry with a `problem`, too."""
        stack: list[tuple[Details, _Above]] = [({"name": self._root, "type": "directory"}, ())]
        while stack:
            details, above = stack.pop()
            uri, problem = self._uri(details)
            size = version = 0
            try:
                if problem is None and details["type"] == "directory":
                    stack += reversed(self._opened(details, above))
                    continue
                if problem is None:
                    size, version = self._state(details)
            except Unreadable as error:
                problem = str(error)
            except Exception as error:
                problem = f"cannot be read: {_why(error)}"
            file = RemoteFile(self, details["name"], size)
            yield Entry(self.archive, uri, size, version, file, problem)

    def holds(self, uri: str) -> bool:
        """Tell whether the file is still there, or its folder cannot be listed.

        The folder asked about last is not listed again: files are often gone by the folder.
        """
        parent = posixpath.dirname(uri)
        folder = f"{self._root}/{quote(parent) if self._is_web else parent}".rstrip("/")
        try:
            if self._held is None or self._held[0] != folder:
                self._held = folder, {self._uri(details)[0] for details in self._inside(folder)}
            return uri in self._held[1]
        except FileNotFoundError:
            return False
        except Exception:
            return True

    def read(self, name: str, size: int) -> bytes:
        """Return all bytes of a file that had `size` of them. Raises Unreadable."""
        check_content(size)
        if not size:
            return b""  # no range fits
        try:
            # One more than there should be, and never more: it may have grown.
            content = self._answer(lambda: self._system.cat_file(name, start=0, end=size + 1))
        except Exception as error:
            raise Unreadable(
                Reason.UNREADABLE, f"It cannot be read: {_why(error)}. The next run tries it again."
            ) from error
        if len(content) != size:
            raise Unreadable(Reason.UNREADABLE, "it changed while it was read; the next run reads it again")
        return content

    def _opened(self, folder: Details, above: _Above) -> list[tuple[Details, _Above]]:
        """Return what `folder` holds, each with what is above it. Raises whatever its protocol does."""
        inside = self._inside(folder["name"])
        above = (*above, _content(folder, inside))
        if len(above) > MAX_DEPTH or above.count(above[-1]) >= MAX_ALIKE:
            raise Unreadable(
                Reason.UNREADABLE,
                f"its links lead in a circle, or it lies {MAX_DEPTH} folders deep; index it by its own URL",
            )
        return [(one, above) for one in inside]

    def _inside(self, folder: str) -> list[Details]:
        """Return what one folder holds, sorted by name. Raises whatever its protocol does."""
        listed = self._answer(lambda: self._system.ls(folder, detail=True))
        # Object stores list a folder that was made by hand among what it holds; pages of web servers have
        # links that sort them.
        own = folder.rstrip("/")
        found = (one for one in listed if _path(one) != own and not (self._is_web and "?" in one["name"]))
        return sorted(found, key=_path)

    def _answer(self, ask: Callable[[], T]) -> T:
        """Return what the store answers. Raises whatever its protocol does; TimeoutError without asking it
        where it has failed for long: to try again takes some protocols ten seconds for each file.
        """
        if self._failing_since is not None and monotonic() - self._failing_since > PATIENCE_S:
            raise TimeoutError
        try:
            answer = ask()
        except (FileNotFoundError, PermissionError):
            self._failing_since = None
            raise
        except Exception:
            self._failing_since = self._failing_since or monotonic()
            raise
        self._failing_since = None
        return answer

    def _uri(self, details: Details) -> tuple[str, str | None]:
        """Return the uri of a file or folder, and why it must not be opened, if so."""
        path = _path(details)
        if path == self._root:
            return WHOLE, None
        if not path.startswith(f"{self._root}/"):
            return storable(path), "its name leads out of the archive"
        name = path[len(self._root) + 1 :]
        return member_uri(unquote(name) if self._is_web else name)

    def _state(self, details: Details) -> tuple[int, int]:
        """Return size in bytes and version of a file. Raises Unreadable, or whatever its protocol does."""
        if details["type"] != "file":
            raise Unreadable(Reason.UNREADABLE, "neither a file nor a folder")
        if details.get("size") is None:
            details = self._answer(partial(self._system.info, details["name"]))
        size = details.get("size")
        if size is None:
            raise Unreadable(Reason.UNREADABLE, "its server does not tell its size; copy it to a folder")
        told = [str(details[name]) for name in _TELLTALES if details.get(name)]
        digest = hashlib.sha256("\n".join(told).encode()).digest()
        return int(size), int.from_bytes(digest[:7]) if told else self._opened_ns


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file, of `size` bytes when it was listed."""

    source: RemoteSource
    name: str
    size: int

    def content(self) -> bytes:
        """Return all its bytes. Raises Unreadable."""
        return self.source.read(self.name, self.size)


def _connect(url: str, archive: str) -> tuple[fsspec.AbstractFileSystem, str]:
    try:
        system, root = fsspec.core.url_to_fs(url, skip_instance_cache=True)
    except ImportError as error:
        package = getattr(error.__cause__, "name", None) or "the package of fsspec for it"
        raise ArchiveNotFound(
            f"{archive}: a URL of this kind needs another package: pip install {package}"
        ) from None
    except ValueError:
        raise ArchiveNotFound(f"{archive}: no kind of URL that fsspec knows; check its beginning") from None
    except Exception as error:
        raise _cannot_list(archive, error) from None
    system.dircache = DirCache(use_listings_cache=False)  # what is asked again may have changed
    return system, root


def _cannot_list(archive: str, error: Exception) -> ArchiveNotFound:
    return ArchiveNotFound(
        f"{archive}: cannot be listed: {_why(error)}; check the URL, the network and who may read there"
    )


def _without_secrets(url: str) -> str:
    """Return a URL without user, password and query; the last may hold a signature."""
    parts = _URL.match(url)
    if parts is None:
        return url
    is_container = parts["scheme"] in _CONTAINER_FIRST and parts["user"] and ":" not in parts["user"]
    container = f"{parts['user']}@" if is_container else ""
    return f"{parts['scheme']}://{container}{parts['place']}".rstrip("/")


def _path(details: Details) -> str:
    return details["name"].rstrip("/")


def _content(folder: Details, inside: list[Details]) -> int:
    """Return a hash of what a folder holds, wherever it is; 0 where no folder is among that."""
    if all(one["type"] != "directory" for one in inside):
        return 0
    return hash(tuple((_path(one)[len(_path(folder)) :], one["type"], one.get("size")) for one in inside))


def _why(error: Exception) -> str:
    """Return what went wrong; an error's own text may hold names and credentials."""
    if isinstance(error, FileNotFoundError):
        return "no such file or folder"
    if isinstance(error, TimeoutError):
        return "there is no answer"
    return "permission denied" if isinstance(error, PermissionError) else type(error).__name__
