"""The log on the disk: several processes add to it, and any of them may be killed while it does.

Lines go to the disk first, then the head. So a killed process leaves the head as it was and, behind it, at
most one group of whole lines, which count, and a line cut short, which the next writer replaces by a record
that says so.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from medsiglip_search.service.audit import chain, head
from medsiglip_search.service.audit.chain import START, Broken, End

LOG = "audit.jsonl"
GROUP = 256
"""The most records that are written at once."""

READ_BACK_BYTES = 4096


class LogFile:
    """One process's hand on the log of a folder, for one thread at a time."""

    def __init__(self, folder: Path, mended: Callable[[int], str]) -> None:
        """mended: returns the fields of a record that says that so many bytes of a line were taken off."""
        self._folder = folder
        self._mended = mended
        self._descriptor: int | None = None
        self._end: End | None = None

    def append(self, records: Sequence[str]) -> None:
        """Add up to `GROUP` records, each by its fields, and return when they are on the disk.

        No records: see whether some could be added. Raises OSError, Broken; nothing of them is then added.
        """
        with self._locked() as descriptor:
            end = self._settled(descriptor)
            if records:
                end = self._written(descriptor, end, records)
            self._end = end

    def close(self) -> None:
        """Let go of the file; it opens again where it is needed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the log, open, against other processes. Raises OSError."""
        while True:
            descriptor = self._opened()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self._is_in_place(descriptor):
                break
            self.close()  # another file was put in its place meanwhile
        try:
            yield descriptor
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _opened(self) -> int:
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            # A log is begun only where there never was one: else it is one that was taken away.
            if self._end is None and not (self._folder / head.HEAD).exists():
                flags |= os.O_CREAT
            self._descriptor = os.open(self._folder / LOG, flags, 0o600)
        return self._descriptor

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.lstat(self._folder / LOG), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def _settled(self, descriptor: int) -> End:
        """Return where the log ends, with what others have added and what killed ones left put in order."""
        size = os.fstat(descriptor).st_size
        end = self._head(begin=size == 0)
        if end == self._end and end.size == size:
            return end
        if self._end is not None and end.seq < self._end.seq:
            raise Broken(f"{head.HEAD} is an older one")
        require_last(descriptor, end)
        whole = _end_of_whole_lines(descriptor, end)
        if whole != end:
            head.write(self._folder, whole)
        return self._mend(descriptor, whole, size) if whole.size < size else whole

    def _head(self, begin: bool) -> End:
        """Return where the log should end. begin: a new one may begin here, if this process knows none."""
        try:
            return head.read(self._folder)
        except FileNotFoundError:
            if self._end is not None or not begin:
                raise Broken(f"{head.HEAD} is gone") from None
        head.create(self._folder)
        return START

    def _mend(self, descriptor: int, end: End, size: int) -> End:
        """Write a record over what was cut short; if that is cut short too, there is again such a rest."""
        line, new = chain.add(end, self._mended(size - end.size))
        _write_all(descriptor, line, end.size)
        os.ftruncate(descriptor, new.size)
        os.fdatasync(descriptor)
        head.write(self._folder, new)
        return new

    def _written(self, descriptor: int, end: End, records: Sequence[str]) -> End:
        """Write records behind `end` and return the new one, or leave the log as it was. Raises OSError."""
        lines, new = [], end
        for fields in records:
            line, new = chain.add(new, fields)
            lines.append(line)
        try:
            _write_all(descriptor, b"".join(lines), end.size)
            os.fdatasync(descriptor)
            head.write(self._folder, new)
        except OSError:
            # The head first, and the lines only if that succeeds: the head must never be ahead of them.
            with suppress(OSError):
                head.write(self._folder, end)
                os.ftruncate(descriptor, end.size)
            raise
        return new


def require_last(descriptor: int, end: End) -> None:
    """Raise Broken unless the open log has the record that the head names where that ends. Raises OSError."""
    if os.fstat(descriptor).st_size < end.size:
        raise Broken(f"{LOG} ends before record {end.seq}, which {head.HEAD} names")
    if end != START and not chain.is_last(end, _line_before(descriptor, end.size)):
        raise Broken(f"record {end.seq} is not the one that {head.HEAD} names")


def _line_before(descriptor: int, place: int) -> bytes:
    """Return the line, with its line break, that ends at this place of the file."""
    length = 0
    while length < place:
        length = min(place, max(2 * length, READ_BACK_BYTES))
        content = os.pread(descriptor, length, place - length)
        line_break = content.rfind(b"\n", 0, -1)
        if line_break >= 0:
            return content[line_break + 1 :]
    return os.pread(descriptor, place, 0)


def _end_of_whole_lines(descriptor: int, end: End) -> End:
    """Return the end after the whole lines that stand behind the head's `end`. Raises Broken, OSError."""
    with open(os.dup(descriptor), "rb") as file:
        file.seek(end.size)
        for count, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            if count > GROUP:
                raise Broken(f"more records than can be stand behind the one that {head.HEAD} names")
            end = chain.follow(end, line)
    return end


def _write_all(descriptor: int, content: bytes, place: int) -> None:
    """Write all of `content` at a place of the file. Raises OSError, and part of it is then written."""
    while content:
        written = os.pwrite(descriptor, content, place)
        content, place = content[written:], place + written
