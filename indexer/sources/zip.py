"""Zip files as archives."""

import io
import os
import stat
import weakref
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from indexer.sources.bounds import MAX_MEMBERS, is_bomb
from indexer.sources.names import member_uri
from indexer.sources.packed import Member
from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images.source import translated

MAX_DIRECTORY_BYTES = 512 << 20

# zipfile inflates bzip2 and lzma without bound, piece by piece: this is its smallest piece.
_PIECE = 4096

_ENCRYPTED = 0x1
_NAME_IS_UTF_8 = 0x800
_MADE_ON_UNIX = 3
_LOCAL_HEADER_BYTES = 30


class ZipPack:
    """One zip file."""

    def __init__(self, path: Path) -> None:
        """Raises OSError; ValueError if it is no zip, or its list of files cannot be read."""
        file = _Bounded(io.FileIO(path))
        weakref.finalize(self, file.close)
        try:
            # A file of our own: it stays open however many threads come and go.
            self._zip = zipfile.ZipFile(file)
        except OSError:
            raise
        except Exception as error:  # from hostile directories, more than zipfile documents
            raise ValueError("no zip") from error
        if len(self._zip.infolist()) > MAX_MEMBERS:
            raise ValueError("too many files")

    def members(self) -> Mapping[str, Member]:
        """Return what it holds (see `Pack`)."""
        found: dict[str, Member] = {}
        for info, overlaps in _by_place(self._zip.infolist()):
            uri, problem = member_uri(_name(info))
            found.pop(uri, None)
            if not info.is_dir():
                trouble = problem or ("it shares its bytes with another file" if overlaps else _trouble(info))
                found[uri] = Member(info.file_size, info, trouble)
        return found

    def read(self, member: Member) -> bytes:
        """Return the bytes of one member. Raises OSError, Unreadable."""
        info: zipfile.ZipInfo = member.place
        if is_bomb(info.file_size, info.compress_size):
            raise Unreadable(Reason.TOO_LARGE, "It inflates to far more than pictures do. Unpack it.")
        content = io.BytesIO()
        with translated():
            try:
                opened = self._zip.open(info)
            except NotImplementedError as error:
                raise Unreadable(
                    Reason.UNSUPPORTED_CODEC, "It is packed by an unknown method. Unpack the archive."
                ) from error
            with opened:
                while piece := opened.read(_PIECE):
                    content.write(piece)
        if content.tell() != info.file_size:
            raise Unreadable(Reason.TRUNCATED, "It is shorter than its archive says. Copy the archive again.")
        return content.getvalue()


class _Bounded(io.BufferedReader):
    """A file of which zipfile takes the list of members into memory, however long it says that is."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise ValueError("a list of files of impossible length")
        return super().read(size)


def _by_place(infos: list[zipfile.ZipInfo]) -> Iterator[tuple[zipfile.ZipInfo, bool]]:
    """Yield the members as they lie in the file, each with whether it overlaps one before it."""
    end = 0
    for info in sorted(infos, key=lambda one: one.header_offset):
        yield info, info.header_offset < end
        end = max(end, info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size)


def _name(info: zipfile.ZipInfo) -> str:
    """Return the name of a member as those meant it who packed it."""
    if info.flag_bits & _NAME_IS_UTF_8:
        return info.filename
    name = info.filename.encode("cp437")
    try:
        return name.decode()  # unmarked, as macOS does
    except UnicodeDecodeError:
        # The rule is CP437 (APPNOTE.TXT D.1); on Unix names are whatever bytes they are.
        return os.fsdecode(name) if info.create_system == _MADE_ON_UNIX else info.filename


def _trouble(info: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == _MADE_ON_UNIX else 0
    if stat.S_ISLNK(kind):
        return "a link; pack the archive again with what it leads to"
    if kind and not stat.S_ISREG(kind):
        return "neither a file nor a folder"
    if info.flag_bits & _ENCRYPTED:
        return "it is encrypted; unpack the archive with its password"
    return None
