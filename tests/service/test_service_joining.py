"""Queries that come while others are answered are answered in one batch."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from medsiglip_search.errors import Unavailable
from medsiglip_search.service import joining
from medsiglip_search.service.joining import Joiner


class Answering:
    """Answers numbers by their squares, the first batch when it is let; negative ones cannot be answered."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.has_begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, numbers: Any) -> Any:
        self.batches.append(list(numbers))
        self.has_begun.set()
        self.may_end.wait()
        if min(numbers) < 0:
            raise ValueError(f"{min(numbers)} is negative")
        return [number**2 for number in numbers]


@pytest.fixture
def answering() -> Answering:
    return Answering()


@pytest.fixture
def joiner(answering: Answering) -> Iterator[Joiner]:
    joiner = Joiner(answering)
    yield joiner
    answering.may_end.set()
    joiner.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


def ask_while_one_is_answered(
    joiner: Joiner, answering: Answering, pool: ThreadPoolExecutor, numbers: list[int]
) -> list["Future[Any]"]:
    """Ask for 9; while that is answered, for these; return what they are answered, in their order."""
    first = pool.submit(joiner.ask, 9)
    answering.has_begun.wait()
    asked = []
    for number in numbers:
        asked.append(pool.submit(joiner.ask, number))
        while joiner._waiting.qsize() < len(asked):
            time.sleep(0.001)
    answering.may_end.set()
    assert first.result() == 81
    return asked


def test_one_query_waits_for_no_other(joiner: Joiner, answering: Answering) -> None:
    answering.may_end.set()

    assert joiner.ask(3) == 9
    assert answering.batches == [[3]]


def test_queries_that_come_meanwhile_are_one_batch_and_each_gets_its_own_answer(
    joiner: Joiner, answering: Answering, pool: ThreadPoolExecutor
) -> None:
    asked = ask_while_one_is_answered(joiner, answering, pool, [1, 2, 3, 4, 5])

    assert [answered.result() for answered in asked] == [1, 4, 9, 16, 25]
    assert answering.batches == [[9], [1, 2, 3, 4, 5]]


def test_a_batch_is_bounded(joiner: Joiner, answering: Answering, pool: ThreadPoolExecutor) -> None:
    asked = ask_while_one_is_answered(joiner, answering, pool, list(range(joining.MOST_AT_ONCE + 3)))

    assert [answered.result() for answered in asked] == [n**2 for n in range(joining.MOST_AT_ONCE + 3)]
    assert [len(batch) for batch in answering.batches] == [1, joining.MOST_AT_ONCE, 3]


def test_one_that_cannot_be_answered_costs_no_other_its_answer(
    joiner: Joiner, answering: Answering, pool: ThreadPoolExecutor
) -> None:
    good, bad, last = ask_while_one_is_answered(joiner, answering, pool, [1, -2, 3])

    assert (good.result(), last.result()) == (1, 9)
    with pytest.raises(ValueError, match="-2 is negative"):
        bad.result()


class Late:
    """A queue into which something is put only after `meanwhile` had its time."""

    def __init__(self, queue: Any, meanwhile: threading.Thread) -> None:
        self._queue = queue
        self._meanwhile = meanwhile

    def put(self, item: Any) -> None:
        if item is not None:
            self._meanwhile.start()
            self._meanwhile.join(0.3)
        self._queue.put(item)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


def test_a_query_at_the_very_end_is_not_left_waiting(joiner: Joiner, answering: Answering) -> None:
    answering.may_end.set()
    joiner._waiting = Late(joiner._waiting, threading.Thread(target=joiner.close))  # type: ignore[assignment]
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(joiner.ask(3)), daemon=True)  # type: ignore[arg-type]

    asking.start()
    asking.join(30)

    assert answers == [9]


def test_what_waits_is_answered_before_the_end_and_nothing_after_it(
    joiner: Joiner, answering: Answering, pool: ThreadPoolExecutor
) -> None:
    asked = ask_while_one_is_answered(joiner, answering, pool, [1, 2])
    joiner.close()

    assert [answered.result() for answered in asked] == [1, 4]
    with pytest.raises(Unavailable, match="the service is stopping"):
        joiner.ask(3)
