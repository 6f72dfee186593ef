"""A lock between processes that ends with the process that holds it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Held(Exception):
    """Another process holds the lock. pid: of that process, as it wrote it down; None where it did not."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"held by process {pid}")
        self.pid = pid


class Lost(Exception):
    """The file of a lock that this process holds was removed: another one may hold a new file's."""


class Hold:
    """What the holder of a lock has in hand.

    after_interruption: the holder before this one did not finish, and may have left something half done.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self.after_interruption = bool(os.pread(descriptor, 1, 0))

    def require_own(self) -> None:
        """Raise Lost if the lock's file is no longer the one that is held."""
        if not _is_at(self._path, self._descriptor):
            raise Lost

    def give_up(self) -> None:
        """Leave all as the holder before left it."""
        if not self.after_interruption:
            self.finish()

    def finish(self) -> None:
        """Say that nothing is half done."""
        os.ftruncate(self._descriptor, 0)


@contextmanager
def exclusive(path: Path) -> Iterator[Hold]:
    """Hold the lock file at `path`, which is made where missing and stays behind, unlocked.

    No process should remove it: the next one would lock a new file beside the holder of the old.

    The lock is the operating system's, not the file: it is gone the moment its process is, however that
    ended. A forked child shares it, so workers are spawned, not forked. The file keeps the id of the holder
    until that one finishes: see `is_unfinished`. Raises Held at once if another process, or another place in
    this one, has it; OSError if the file cannot be written.
    """
    descriptor = _locked(path)
    try:
        hold = Hold(path, descriptor)
        # Written over, so that the file is at no instant empty.
        os.ftruncate(descriptor, os.pwrite(descriptor, b"%d\n" % os.getpid(), 0))
        yield hold
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int:
    """Return a descriptor of the file at `path`, locked. Raises Held, OSError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = _held(descriptor)
            os.close(descriptor)
            raise held from None
        except OSError:
            os.close(descriptor)
            raise
        if _is_at(path, descriptor):
            return descriptor
        os.close(descriptor)  # removed between its opening and its locking


def _held(descriptor: int) -> Held:
    written = os.pread(descriptor, 20, 0).strip()
    return Held(int(written) if written.isdigit() else None)


def _is_at(path: Path, descriptor: int) -> bool:
    """Tell whether the open file is the one that stands at `path`."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def require_free(path: Path) -> None:
    """Raise Held if the lock file at `path` is held; it is not taken."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        # Shared with others who look, and let go at once: it must not stand in a writer's way.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _held(descriptor) from None
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Tell whether someone holds the lock file at `path`."""
    try:
        require_free(path)
    except Held:
        return True
    return False


def is_unfinished(path: Path) -> bool:
    """Tell whether someone holds the lock file at `path`, or was ended before it had finished."""
    try:
        return path.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
