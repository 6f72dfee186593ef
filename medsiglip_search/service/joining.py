"""Queries that wait at the same time are answered in one batch, which costs little more than one of them."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from medsiglip_search.errors import Unavailable
from medsiglip_search.queries import Query
from medsiglip_search.records import Result

MOST_AT_ONCE = 32

Answer = Callable[[Sequence[Query]], list[Result]]
_Waiting = tuple[Query, "Future[Result]"]


class Joiner:
    """Answers queries from any number of threads; those that come while a batch is answered are the next one.

    No query waits for others to come: a single one is answered at once.
    """

    def __init__(self, answer: Answer, count: Callable[[int], None] = lambda size: None) -> None:
        """Take what answers a batch. count: is told the size of each."""
        self._answer = answer
        self._count = count
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._is_closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="queries", daemon=True)
        self._thread.start()

    def ask(self, query: Query) -> Result:
        """Return the answer to `query`. Raises what answering it alone would; Unavailable after `close`."""
        answered: Future[Result] = Future()
        with self._closing:  # what is put after the end is never answered
            if self._is_closed:
                raise Unavailable("the service is stopping; ask again when it is back")
            self._waiting.put((query, answered))
        return answered.result()

    def close(self) -> None:
        """Answer what waits, and end."""
        with self._closing:
            self._is_closed = True
            self._waiting.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            ends = False
            while len(batch) < MOST_AT_ONCE and not self._waiting.empty():
                more = self._waiting.get()
                if more is None:
                    ends = True
                    break
                batch.append(more)
            self._count(len(batch))
            self._settle(batch)
            if ends:
                return

    def _settle(self, batch: Sequence[_Waiting]) -> None:
        try:
            results = self._answer([query for query, _ in batch])
        except BaseException as error:
            # One that cannot be answered must not cost its neighbours their answers.
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for one in batch:
                self._settle([one])
            return
        for (_, answered), result in zip(batch, results, strict=True):
            answered.set_result(result)
