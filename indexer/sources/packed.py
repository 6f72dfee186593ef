"""An archive that is one file, read without unpacking it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from indexer.sources import Entry
from indexer.sources.bounds import check_content
from indexer.sources.names import WHOLE, storable
from medsiglip_search.errors import Reason, Unreadable


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside.

    size: in bytes, unpacked. place: where its bytes are, as the pack knows it.
    problem: why it must not be opened.
    """

    size: int
    place: Any = None
    problem: str | None = None


class Pack(Protocol):
    """One kind of file that holds files."""

    def members(self) -> Mapping[str, Member]:
        """Return what it holds by uri, in the order in which it lies there, the last one of each name.

        What cannot be listed stands under `WHOLE`, once, with a problem.
        """
        ...

    def read(self, member: Member) -> bytes:
        """Return the bytes of one member; from any thread. Raises OSError, Unreadable."""
        ...


class PackedSource:
    """The files inside one tar or zip file."""

    def __init__(self, path: Path, pack: Pack) -> None:
        """path: of the archive, absolute and without links. Raises OSError if it is gone."""
        self.archive = storable(str(path))
        self._path = path
        self._pack = pack
        self._state = _state(path)

    def entries(self) -> Iterator[Entry]:
        """Yield an entry per member, all but folders; one with a problem for what cannot be listed.

        Its time of change is the archive's own: times inside are often set to a constant, and a repacked file
        of the same size would go unnoticed.
        """
        for uri, member in self._members.items():
            file = _PackedFile(self, member)
            state = (0, 0) if member.problem else (member.size, self._state[1])
            yield Entry(self.archive, uri, *state, file, member.problem)

    def holds(self, uri: str) -> bool:
        """Tell whether the file is inside, or may be, where not all of the archive can be listed."""
        return uri in self._members or WHOLE in self._members

    def read(self, member: Member) -> bytes:
        """Return the bytes of one member. Raises OSError; Unreadable, also if the archive has changed."""
        check_content(member.size)
        content = self._pack.read(member)
        if _state(self._path) != self._state:
            raise Unreadable(
                Reason.UNREADABLE, "its archive changed while it was read; the next run reads it again"
            )
        return content

    @cached_property
    def _members(self) -> Mapping[str, Member]:
        return self._pack.members()


@dataclass(frozen=True, slots=True)
class _PackedFile:
    source: PackedSource
    member: Member

    def content(self) -> bytes:
        return self.source.read(self.member)


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
