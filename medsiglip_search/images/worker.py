"""What a worker process of the guard does: one task after another, within limits."""

import contextlib
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from medsiglip_search.errors import MedSiglipSearchError
from medsiglip_search.images.source import translated
from medsiglip_search.images.transport import SharingSender, receive

# Decoders leak a little on damaged files, and each task would have less memory than the one before.
TASKS_PER_WORKER = 5000


@dataclass(frozen=True, slots=True)
class Call:
    """What the guard asks for: all that `task(*arguments)` yields, one by one, and what it returns.

    A Call that comes while another is under way takes its place. For the next piece the guard sends NEXT.
    """

    task: Callable[..., Iterator[Any]]
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing that the task yielded."""

    value: Any


@dataclass(frozen=True, slots=True)
class End:
    """The task came to its end.

    value: what it returned, one more piece if it is not None. spent: the worker should be replaced before the
    next one.
    """

    value: Any
    error: MedSiglipSearchError | None
    spent: bool


NEXT = None


def serve(descriptor: int, memory_bytes: int, timeout_s: float) -> None:
    """Run what comes in on the socket until the other end hangs up.

    memory_bytes: what the process may take. timeout_s: after so long without a piece it ends itself.
    """
    _open_standard_streams()
    _limit(resource.RLIMIT_DATA, memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)  # a core file would hold a patient's picture
    with socket.socket(fileno=descriptor) as channel:
        answers = SharingSender(channel)
        _silence()
        with contextlib.suppress(EOFError, OSError):
            _serve(channel, answers, timeout_s)


def _serve(channel: socket.socket, answers: SharingSender, timeout_s: float) -> None:
    tasks = 0
    pieces: Iterator[Any] = iter(())
    while True:
        message = receive(channel)
        # Kills this process, however deep in a decoder, where the guard is no longer there to do so.
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        if isinstance(message, Call):
            tasks += 1
            pieces = message.task(*message.arguments)
        reply = _next_reply(pieces, tasks)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.send(reply)


def _next_reply(pieces: Iterator[Any], tasks: int) -> Piece | End:
    try:
        with translated():
            try:
                return Piece(next(pieces))
            except StopIteration as end:
                return End(end.value, None, spent=tasks >= TASKS_PER_WORKER)
    except MedSiglipSearchError as error:
        starved = isinstance(error.__cause__, MemoryError)
        return End(None, error, spent=starved or tasks >= TASKS_PER_WORKER)


def _limit(kind: int, amount: int) -> None:
    _, most = resource.getrlimit(kind)
    resource.setrlimit(kind, (amount if most == resource.RLIM_INFINITY else min(amount, most), most))


def _open_standard_streams() -> None:
    """Take the numbers of those that are closed, so that nothing else of this process gets them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)


def _silence() -> None:
    """Send what decoders print to nowhere: some quote the file."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
