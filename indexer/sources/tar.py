"""Tar files, plain or compressed by gzip, bzip2 or xz, as archives."""

import bisect
import bz2
import gzip
import lzma
import os
import tarfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from indexer.sources.bounds import MAX_MEMBERS, is_bomb
from indexer.sources.names import WHOLE, member_uri
from indexer.sources.packed import Member
from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images.source import translated

# Names and attributes of one member; a real header of many extended attributes has some kilobytes.
MAX_HEADER_BYTES = 1 << 20

# Members that were passed on the way to others: as far as threads run ahead of each other, and more.
STASH_BYTES = 128 << 20

# One for those who read the pictures, one for who looks into tables further on.
PASSES_AT_ONCE = 2

_PIECE = 1 << 20

_COMPRESSIONS: Mapping[bytes, Callable[[BinaryIO], "_Readable"]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class _Stream(_Readable, Protocol):
    """The bytes of a tar; `seek` leads forward only."""

    def tell(self) -> int: ...

    def seek(self, position: int, /) -> object: ...


@dataclass(frozen=True, slots=True)
class _Span:
    """Where the bytes of a member are.

    pieces: of a sparse file, where in the file the stored bytes belong: (start, length) each, in their order.
    """

    start: int
    length: int
    pieces: Sequence[tuple[int, int]] | None = None


class TarPack:
    """One tar file. Members of a plain one are read where they lie, those of a compressed one in passing."""

    def __init__(self, path: Path) -> None:
        """Raises OSError; ValueError if it is no tar."""
        self._path = path
        with path.open("rb") as file:
            head = file.read(tarfile.BLOCKSIZE)
        self._inflate = next((c for magic, c in _COMPRESSIONS.items() if head.startswith(magic)), None)
        if not self._begins_as_tar():
            raise ValueError("no tar")
        self._passing = _Passing(self._open)

    def members(self) -> Mapping[str, Member]:
        """Return what it holds (see `Pack`). All of a compressed tar is inflated for it."""
        found: dict[str, Member] = {}
        try:
            for header in self._headers():
                uri, problem = member_uri(header.name)
                found.pop(uri, None)  # so that the last one stands where it lies
                if not header.isdir():
                    found[uri] = _member(header, problem or _trouble(header))
        except Exception as error:  # from hostile headers, more than tarfile documents
            found[WHOLE] = Member(0, problem=_end(error, len(found)))
        self._passing.expect([member.place for member in found.values() if member.place])
        return found

    def read(self, member: Member) -> bytes:
        """Return the bytes of one member. Raises OSError, Unreadable."""
        span = member.place
        with translated():
            stored = self._passing.read(span) if self._inflate else self._read_plain(span)
            if len(stored) < span.length:
                raise Unreadable(Reason.TRUNCATED, "The archive ends within it. Copy the archive again.")
            return stored if span.pieces is None else _expanded(stored, span.pieces, member.size)

    def _begins_as_tar(self) -> bool:
        stream = self._open()
        try:
            block = stream.read(tarfile.BLOCKSIZE)
            if block == bytes(tarfile.BLOCKSIZE):
                return _is_blank(stream)  # one without a file
            tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except Exception:
            return False
        finally:
            stream.close()
        return True

    def _headers(self) -> Iterator[tarfile.TarInfo]:
        """Yield each member's header. Raises whatever damaged ones cause, and ValueError without an end."""
        stream = self._open()
        try:
            headers = _Headers(stream)
            with tarfile.open(fileobj=headers, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:  # type: ignore[call-overload]
                count = position = 0
                while (header := tar.next()) is not None:
                    tar.members.clear()  # kept for look-ups by name, which nobody does here
                    count += 1
                    if tar.offset <= position or header.size < 0 or count > MAX_MEMBERS:
                        raise ValueError("a member that leads back, or too many")
                    position = tar.offset
                    yield header
            # A block of zeros ends the list; before anything else it is a header that was lost. Of a
            # compressed tar a checksum stands at the very end.
            if headers.last != bytes(tarfile.BLOCKSIZE) or not _is_blank(stream):
                raise ValueError("no end mark")
        finally:
            stream.close()

    def _open(self) -> _Stream:
        file = self._path.open("rb")
        return _Inflating(file, self._inflate(file)) if self._inflate else file

    def _read_plain(self, span: _Span) -> bytes:
        with self._path.open("rb") as file:
            file.seek(span.start)
            return file.read(span.length)


class _Headers:
    """What tarfile reads its headers from; of a damaged one it would take any length into memory."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self.last = b""

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise ValueError("a header of impossible length")
        self.last = self._stream.read(size)
        return self.last

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, position: int) -> None:
        self._stream.seek(position)


class _Bomb(Unreadable):
    def __init__(self) -> None:
        super().__init__(Reason.TOO_LARGE, "Its archive inflates to far more than pictures do. Unpack it.")


class _Inflating:
    """A compressed file from its first inflated byte to the last. Raises _Bomb."""

    def __init__(self, packed: BinaryIO, inflated: _Readable) -> None:
        self._packed = packed
        self._inflated = inflated
        self._position = 0

    def read(self, size: int) -> bytes:
        data = self._inflated.read(size)
        self._position += len(data)
        if is_bomb(self._position, self._packed.tell()):
            raise _Bomb
        return data

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        while self._position < position and self.read(min(_PIECE, position - self._position)):
            pass

    def close(self) -> None:
        self._inflated.close()
        self._packed.close()


class _Passing:
    """Members of a compressed tar, asked for about in the order in which they lie there.

    A member that is passed on the way to another one is kept a while: threads that read side by side ask a
    little out of order. What lies further back costs another pass from the beginning.
    """

    def __init__(self, open_stream: Callable[[], _Stream]) -> None:
        self._open = open_stream
        self._spans: Sequence[_Span] = ()
        self._starts: Sequence[int] = ()
        self._lock = threading.Lock()
        self._streams: list[_Stream] = []  # the one used last stands last
        self._stash: dict[int, bytes] = {}
        self._stash_bytes = 0
        weakref.finalize(self, _close, self._streams)

    def expect(self, spans: Sequence[_Span]) -> None:
        """Take note of all members that may be asked for, in the order in which they lie there."""
        self._spans = spans
        self._starts = [span.start for span in spans]

    def read(self, span: _Span) -> bytes:
        """Return the stored bytes, fewer where the archive ends. Raises what inflating does."""
        with self._lock:
            if span.start in self._stash:
                return self._unstash(span.start)
            stream = self._stream_before(span.start)
            self._pass(stream, span.start)
            content = _read_at(stream, span)
            self._streams.append(stream)
            return content

    def _stream_before(self, start: int) -> _Stream:
        """Take out the stream that has least to pass, or a new one."""
        before = [stream for stream in self._streams if stream.tell() <= start]
        if before:
            stream = max(before, key=lambda one: one.tell())
            self._streams.remove(stream)
            return stream
        while len(self._streams) >= PASSES_AT_ONCE:
            self._streams.pop(0).close()
        return self._open()

    def _pass(self, stream: _Stream, start: int) -> None:
        """Keep the members between where the stream stands and `start`."""
        first = bisect.bisect_left(self._starts, stream.tell())
        for span in self._spans[first : bisect.bisect_left(self._starts, start)]:
            if span.length <= STASH_BYTES and span.start not in self._stash:
                content = self._stash[span.start] = _read_at(stream, span)
                self._stash_bytes += len(content)
                while self._stash_bytes > STASH_BYTES:
                    self._unstash(next(iter(self._stash)))

    def _unstash(self, start: int) -> bytes:
        content = self._stash.pop(start)
        self._stash_bytes -= len(content)
        return content


def _read_at(stream: _Stream, span: _Span) -> bytes:
    stream.seek(span.start)
    return stream.read(span.length)


def _is_blank(stream: _Stream) -> bool:
    """Tell whether only zeros follow, as many as there may be."""
    while piece := stream.read(_PIECE):
        if piece.count(0) < len(piece):
            return False
    return True


def _close(streams: list[_Stream]) -> None:
    for stream in streams:
        stream.close()


def _member(header: tarfile.TarInfo, problem: str | None) -> Member:
    pieces: Sequence[tuple[int, int]] | None = getattr(header, "sparse", None)
    for start, length in pieces or ():
        if start < 0 or length < 0 or start + length > header.size:
            problem = problem or "its map of holes is damaged; copy the archive again"
    if problem is not None:
        return Member(0, problem=problem)
    length = header.size if pieces is None else sum(length for _, length in pieces)
    return Member(header.size, _Span(header.offset_data, length, pieces))


def _trouble(header: tarfile.TarInfo) -> str | None:
    if header.issym():
        return "a link; pack the archive again with --dereference"
    if header.islnk():
        return "a link to another file of the archive; pack it again with --hard-dereference"
    return None if header.isreg() else "neither a file nor a folder"


def _end(error: Exception, count: int) -> str:
    """Return why a tar cannot be listed beyond its first `count` files."""
    where = f"after the first {count} of its files"
    if isinstance(error, _Bomb):
        return f"the archive inflates to far more than pictures do {where}; unpack it into a folder"
    if isinstance(error, OSError) and error.errno is not None:
        return f"the archive cannot be read {where}: {os.strerror(error.errno).lower()}"
    return f"the archive is damaged or cut {where}, and no more can be listed; copy it again from its source"


def _expanded(stored: bytes, pieces: Sequence[tuple[int, int]], size: int) -> bytes:
    """Return a sparse file with its holes filled by zeros."""
    expanded, taken = bytearray(size), 0
    for start, length in pieces:
        expanded[start : start + length] = stored[taken : taken + length]
        taken += length
    return bytes(expanded)
