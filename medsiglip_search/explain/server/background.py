"""Work that waits for others, in a thread of its own, so that whoever wants it can leave at any time."""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from medsiglip_search.errors import ExplainerFailed
from medsiglip_search.explain.chat import Tell

# How often a call looks whether it is still wanted, and how long its end is waited for then.
_LOOK_S, _LEAVE_S = 0.05, 0.7

T = TypeVar("T")


class Call(Generic[T]):
    """Work in an event loop of its own, whose pieces come out here, and which ends when it is not wanted.

    The caller's thread is never inside a read, so that nothing a server does holds it up.
    """

    def __init__(self, work: Callable[[Tell], Coroutine[Any, Any, T]], stop: threading.Event) -> None:
        self._stop = stop
        self._is_left = threading.Event()
        self._ended = threading.Event()
        self._pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._outcome: T | BaseException | None = None
        # Not waited for at exit: a name that nobody resolves keeps it for as long as the system likes.
        self._thread = threading.Thread(target=self._work, args=(work,), daemon=True)
        self._thread.start()

    def next_piece(self) -> str | None:
        """Return a piece as soon as there is one; None after the last, or once stopped."""
        while not self._stop.is_set():
            try:
                return self._pieces.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
        return None

    def result(self) -> T | None:
        """Return how it ended; None if it was stopped. Raises what it raised."""
        if self._stop.is_set():
            return None
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def leave(self) -> None:
        """End it, and wait a moment until the connection is closed."""
        self._is_left.set()
        self._ended.wait(_LEAVE_S)

    def _work(self, work: Callable[[Tell], Coroutine[Any, Any, T]]) -> None:
        running = self._run(work)
        try:
            asyncio.run(running)
        except OSError as error:
            # An event loop takes files of its own, of which a busy server can be short.
            self._outcome = ExplainerFailed(f"a language model cannot be asked ({error.strerror}); try later")
            running.close()
            self._end()

    async def _run(self, work: Callable[[Tell], Coroutine[Any, Any, T]]) -> None:
        task = asyncio.ensure_future(work(self._pieces.put))
        try:
            while not (await asyncio.wait({task}, timeout=_LOOK_S))[0]:
                if self._stop.is_set() or self._is_left.is_set():
                    # Once: a second time would break into the closing of the connection.
                    task.cancel()
                    await asyncio.wait({task}, timeout=_LEAVE_S)
                    break
            if not task.done():
                return
            self._outcome = task.result()
        except asyncio.CancelledError:
            pass  # the caller knows
        except BaseException as error:
            self._outcome = error
        finally:
            # Here, and not when the loop is closed too, which waits for names that are being resolved.
            self._end()

    def _end(self) -> None:
        self._ended.set()
        self._pieces.put(None)
