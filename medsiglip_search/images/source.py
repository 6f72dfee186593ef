"""Opening a file or bytes, and the one place where a library's exception becomes Unreadable."""

import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from medsiglip_search.errors import MedSiglipSearchError, Reason, Unreadable


def open_source(source: str | os.PathLike[str] | bytes) -> io.BytesIO | io.BufferedReader:
    """Return a seekable stream; raises Unreadable for what is no regular file or cannot be opened."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        stream = _File(io.FileIO(os.fspath(source), opener=_open_without_waiting))
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise cannot_be_read(error) from error
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise Unreadable(Reason.UNREADABLE, "This is a device, pipe or socket. Give a regular file.")
    return stream


class _File(io.BufferedReader):
    """A file of which more can be asked for than it has: a damaged length asks for anything."""

    def read(self, size: int | None = -1) -> bytes:
        # A buffered file takes the memory for all that is asked for before it reads.
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def stream_size(stream: BinaryIO) -> int:
    """Return the size in bytes; the position stays as it was."""
    position = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(position)
    return size


def inflate(stream: BinaryIO, limit: int) -> io.BytesIO:
    """Return the rest of the stream inflated (raw deflate), refused beyond `limit` bytes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = io.BytesIO()
    while not inflater.eof:
        compressed = inflater.unconsumed_tail or stream.read(1 << 16)
        if not compressed:
            raise Unreadable(Reason.TRUNCATED, "The deflated file ends early. Copy it again from its source.")
        inflated.write(inflater.decompress(compressed, 1 << 20))
        if inflated.tell() > limit:
            raise Unreadable(
                Reason.TOO_LARGE,
                f"The file inflates to more than {limit // 2**20} MiB. Store it uncompressed.",
            )
    inflated.seek(0)
    return inflated


@contextmanager
def translated() -> Iterator[None]:
    """Raise Unreadable for whatever a decoder raises on hostile input.

    Decoders raise far more than they document: StopIteration, which would silently end a caller's loop;
    from Rust, a panic that is no Exception.
    """
    try:
        yield
    except (MedSiglipSearchError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except MemoryError as error:
        raise Unreadable(Reason.TOO_LARGE, "There is not enough memory to decode it.") from error
    except BaseException as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise cannot_be_read(error) from error
        raise Unreadable(
            Reason.MALFORMED,
            f"The file is damaged: decoding ended in {type(error).__name__}. Export it again.",
        ) from error


def _open_without_waiting(path: str, flags: int) -> int:
    # A pipe without a writer would block the open for ever.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def cannot_be_read(error: BaseException) -> Unreadable:
    """Return the error for a file that the system does not give out; without its name."""
    what = error.strerror if isinstance(error, OSError) and error.strerror else "its name is not valid"
    return Unreadable(
        Reason.UNREADABLE, f"The file cannot be read: {what}. Check that it exists and may be read."
    )
