"""Guarded decoding: a file that hangs, swells or crashes its decoder costs that file, and nothing else."""

import contextlib
import fcntl
import itertools
import os
import queue
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from medsiglip_search.errors import DecoderUnavailable, InvalidQuery, Reason, Unreadable
from medsiglip_search.images import read_picture
from medsiglip_search.images.limits import check_encoded
from medsiglip_search.images.transport import SharingReceiver, send
from medsiglip_search.images.worker import NEXT, Call, End, Piece
from medsiglip_search.records import Picture
from medsiglip_search.windows import RenderSpec, Window

T = TypeVar("T")

START_TIMEOUT_S = 60.0
START_ATTEMPTS = 3
MAX_TIMEOUT_S = 86_400.0

_PROGRAM = "import sys; sys.path[:] = {}; from medsiglip_search.images.worker import serve; serve{}"
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # glibc would hand the memory of each picture back to the system and have the next one cleared anew, which
    # doubles the time that a small picture takes.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What decoding one file may take.

    timeout_s: until its first frame is there, and again for each further one.
    memory_bytes: of the worker process, its program included.
    """

    timeout_s: float = 10.0
    memory_bytes: int = 1_400_000_000

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s <= MAX_TIMEOUT_S:
            raise InvalidQuery(
                f"{self.timeout_s:g} s: give a time limit above 0 and up to {MAX_TIMEOUT_S:g} s"
            )


class Guard:
    """A pool of worker processes, started when they are needed. To be used from any number of threads.

    workers: how many tasks run at once, one for each processor by default; further ones wait.
    Close it by `with`; it also ends with its last user and with the program, even one that is killed.
    """

    def __init__(self, workers: int | None = None, limits: Limits = Limits()) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers is {workers}, must be at least 1")
        self.workers = workers or _processors()
        self.limits = limits
        # The latest comes first, so that a worker which runs already is taken before a new one is started.
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(self.workers):
            self._idle.put(None)
        self._finalizer = weakref.finalize(self, _close, self._idle)

    def run(self, task: Callable[..., Iterator[T]], *arguments: Any) -> Iterator[T]:
        """Yield what `task(*arguments)` yields; it runs in a worker, each piece when it is asked for.

        task: a function of a module that yields the same each time: if its process dies, it is begun anew,
            once. It may return its last piece, which saves asking for the end. Arguments and pieces must be
            picklable; arrays come back through shared memory.
        Raises DecoderUnavailable if no worker starts, the MedSiglipSearchError that the task raises, and
        Unreadable for everything else that goes wrong in it, the end of its process included.
        """
        yielded = 0
        for is_last_attempt in (False, True):
            try:
                with contextlib.closing(self._run_once(task, arguments)) as pieces:
                    for piece in itertools.islice(pieces, yielded, None):
                        yielded += 1
                        yield piece
                return
            except _Died as death:
                # Once may have another cause: the system ends processes when memory is short.
                if is_last_attempt:
                    raise death.blamed_on_the_file() from None

    def _run_once(
        self, task: Callable[..., Iterator[T]], arguments: tuple[Any, ...]
    ) -> Generator[T, None, None]:
        """Yield what the task yields. Raises _Died if its process ends."""
        worker = self._idle.get()
        answered = False
        try:
            if worker is not None and not worker.is_running:
                worker.close()
                worker = None
            worker = worker or _start(self.limits)
            reply = worker.ask(Call(task, arguments))
            while isinstance(reply, Piece):
                answered = True  # the caller may take no further piece
                yield reply.value
                answered = False
                reply = worker.ask(NEXT)
            answered = not reply.spent
            if reply.error is not None:
                raise reply.error
            if reply.value is not None:
                yield reply.value
        finally:
            # An answer that nobody waited for would be taken for the one to the next call.
            if worker is not None and not answered:
                worker.close()
            self._idle.put(worker if answered else None)

    def read(
        self,
        source: str | os.PathLike[str] | bytes,
        rendering: RenderSpec = RenderSpec(),
        frame: int | None = None,
        window: Window | None = None,
    ) -> Picture:
        """Return one frame of a file or its bytes, the middle one by default (see `open_image`).

        Raises Unreadable; InvalidQuery for a frame it has not, or a window on a picture without values.
        """
        if not isinstance(source, str | os.PathLike | bytes):
            raise TypeError(f"source is {type(source).__name__}, must be a path or bytes")
        if isinstance(source, bytes):
            check_encoded(len(source))
        [picture] = self.run(read_picture, source, rendering, frame, window)
        return picture

    def close(self) -> None:
        """End the workers; the guard starts new ones if it is used again."""
        _close(self._idle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Died(Exception):
    """The process of a worker ended. `ended_by`: the number of the signal, 0 where it is not known."""

    def __init__(self, ended_by: int) -> None:
        super().__init__(ended_by)
        self.ended_by = ended_by

    def blamed_on_the_file(self) -> Unreadable:
        if self.ended_by == signal.SIGKILL:
            return Unreadable(
                Reason.UNREADABLE,
                "The system ended its decoder, perhaps for want of memory. Free some, and try it again.",
            )
        return Unreadable(Reason.MALFORMED, "Its decoder crashed: the file is damaged. Export it again.")


def _start(limits: Limits) -> "_Worker":
    """Return a new worker. Raises DecoderUnavailable if none starts."""
    for attempt in range(START_ATTEMPTS):
        time.sleep(attempt)
        try:
            return _Worker(limits)
        except (EOFError, OSError):
            continue
    raise DecoderUnavailable(
        "no process that decodes pictures can be started. Check how much memory and how many processes and "
        "open files this program may have; then do the same again"
    )


class _Worker:
    """One worker process and the socket to it. Not forked: the parent's threads and memory stay out of it."""

    def __init__(self, limits: Limits) -> None:
        """Raises OSError, or EOFError, if it does not start."""
        self._limits = limits
        self._channel, theirs = socket.socketpair()
        with theirs:
            # Above the standard streams, of which this program may have closed some.
            descriptor = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, 3)
        # A worker without a guard ends itself a little later than the guard would have ended it.
        arguments = (descriptor, limits.memory_bytes, limits.timeout_s + 1)
        folders = [folder for folder in sys.path if isinstance(folder, str)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM.format(folders, arguments)],
                stdin=subprocess.DEVNULL,
                env=os.environ | _ENVIRONMENT,
                pass_fds=[descriptor],
                process_group=0,  # Ctrl-C is for this program; what it means for the worker is decided here
            )
        except OSError:
            self._channel.close()
            raise
        finally:
            os.close(descriptor)
        self._channel.settimeout(START_TIMEOUT_S)
        try:
            self._answers = SharingReceiver(self._channel)
        except (EOFError, OSError):
            self._end()
            raise
        self._channel.settimeout(limits.timeout_s)

    @property
    def is_running(self) -> bool:
        """Whether the process is there; between two tasks the system may have ended it."""
        return self._process.poll() is None

    def ask(self, message: Call | None) -> Piece | End:
        """Return the answer. Raises Unreadable if it takes too long, _Died."""
        try:
            with contextlib.suppress(ConnectionError):  # to receive tells as well
                send(self._channel, message)
            return self._receive()
        except TimeoutError:
            raise Unreadable(
                Reason.DECODE_TIMEOUT,
                f"Decoding took longer than {self._limits.timeout_s:g} s. Give it more time "
                "(--decode-timeout; for index together with --retry-rejected), or convert the file.",
            ) from None

    def _receive(self) -> Piece | End:
        try:
            return self._answers.receive()
        except TimeoutError:
            raise
        except Exception:  # the process has ended, or a decoder that wrote beyond its bounds speaks for it
            raise self._died() from None

    def close(self) -> None:
        """End the process, whatever it does."""
        self._answers.close()
        self._end()

    def _end(self) -> None:
        self._channel.close()
        self._process.kill()
        # One that waits for a disk which does not answer is left to the system.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)

    def _died(self) -> _Died:
        try:
            return _Died(-self._process.wait(timeout=1))
        except subprocess.TimeoutExpired:
            return _Died(0)


def _processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _close(idle: "queue.LifoQueue[_Worker | None]") -> None:
    workers = []
    while not idle.empty():
        try:
            workers.append(idle.get_nowait())
        except queue.Empty:  # another thread was quicker
            break
    for worker in workers:
        if worker is not None:
            worker.close()
        idle.put(None)
