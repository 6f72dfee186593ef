"""Several slow iterators drawn from at once, their items in one order all the same."""

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Generic, TypeVar

T = TypeVar("T")

ITEMS_AHEAD = 2


def side_by_side(streams: Iterable[Generator[T, None, None]], workers: int) -> Iterator[T]:
    """Yield all items of all streams, stream after stream, while threads draw on the next ones.

    workers: how many streams are drawn from at once. Each is at most ITEMS_AHEAD items ahead, and at most
    twice as many streams as workers have begun: what waits in between is bounded.
    """
    stopped = threading.Event()
    begun: deque[_Drawn[T]] = deque()
    with ThreadPoolExecutor(workers, "read-ahead") as threads:
        try:
            for stream in streams:
                begun.append(_Drawn(stream, stopped))
                threads.submit(begun[-1].draw)
                if len(begun) > 2 * workers:
                    yield from begun[0].items()
                    begun.popleft()
            while begun:
                yield from begun[0].items()
                begun.popleft()
        finally:
            stopped.set()
            for drawn in begun:
                drawn.make_room()


class _Drawn(Generic[T]):
    """One stream on its way through a queue."""

    def __init__(self, stream: Generator[T, None, None], stopped: threading.Event) -> None:
        self._stream = stream
        self._stopped = stopped
        # Each item in a tuple, then the error that the stream ended by, or None.
        self._queue: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(ITEMS_AHEAD)

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
