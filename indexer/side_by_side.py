"""Slow iterators drawn from by threads, their items in one order all the same."""

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

ITEMS_AHEAD = 2
# Enough short ones for the next batch of an encoder, while it works on this one.
STREAMS_AHEAD = 64

# A thread that waits for a disk or a network which does not answer is left to its end.
STOP_SECONDS = 5.0


def side_by_side(streams: Iterable[Generator[T, None, None]], workers: int) -> Generator[T, None, None]:
    """Yield all items of all streams, stream after stream, while threads draw on the next ones.

    workers: how many streams are drawn from at once. Each is at most ITEMS_AHEAD items ahead, and at most
    STREAMS_AHEAD streams have begun: what waits in between is bounded.
    """
    stopped = threading.Event()
    begun: deque[_Drawn[T]] = deque()
    with ThreadPoolExecutor(workers, "read-ahead") as threads:
        try:
            for stream in streams:
                begun.append(_Drawn(stream, stopped, ITEMS_AHEAD))
                threads.submit(begun[-1].draw)
                if len(begun) >= STREAMS_AHEAD:
                    yield from begun[0].items()
                    begun.popleft()
            while begun:
                yield from begun[0].items()
                begun.popleft()
        finally:
            stopped.set()
            for drawn in begun:
                drawn.make_room()


@contextmanager
def drawn_ahead(stream: Generator[T, None, None], items: int) -> Iterator[Iterator[T]]:
    """Give the items of `stream`, which a thread draws up to `items` ahead of the caller.

    The thread ends with the stream, or when the caller leaves.
    """
    stopped = threading.Event()
    drawn = _Drawn(stream, stopped, items)
    thread = threading.Thread(target=drawn.draw, name="draw-ahead", daemon=True)
    thread.start()
    try:
        yield drawn.items()
    finally:
        stopped.set()
        drawn.make_room()
        thread.join(STOP_SECONDS)


class _Drawn(Generic[T]):
    """One stream on its way through a queue."""

    def __init__(self, stream: Generator[T, None, None], stopped: threading.Event, items: int) -> None:
        self._stream = stream
        self._stopped = stopped
        # Each item in a tuple, then the error that the stream ended by, or None: no thread waits with that.
        self._queue: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(items + 1)

    def draw(self) -> None:
        """Fill the queue until the stream ends; runs in a thread."""
        end: BaseException | None = None
        try:
            with closing(self._stream):
                if self._stopped.is_set():
                    return
                for item in self._stream:
                    if self._stopped.is_set():
                        return
                    self._queue.put((item,))
        except BaseException as error:
            end = error
        self._queue.put(end)

    def items(self) -> Iterator[T]:
        """Yield the items as they come; raises what the stream raised."""
        while isinstance(entry := self._queue.get(), tuple):
            yield entry[0]
        if entry is not None:
            raise entry

    def make_room(self) -> None:
        """Let the thread go on to see that it should stop, if it waits with a full queue."""
        while not self._queue.empty():
            self._queue.get_nowait()
