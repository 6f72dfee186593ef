"""Streams drawn from at once: the order, how far ahead, errors and an early end."""

import threading
from collections.abc import Generator

import pytest

from indexer.side_by_side import drawn_ahead, side_by_side


def test_items_come_stream_after_stream_however_long_each_takes() -> None:
    first_may_go = threading.Event()

    def first() -> Generator[str, None, None]:
        assert first_may_go.wait(60)
        yield "a1"
        yield "a2"

    def second() -> Generator[str, None, None]:
        yield "b1"
        first_may_go.set()  # the first goes on only if the second is drawn from at the same time
        yield "b2"

    assert list(side_by_side([first(), second()], workers=2)) == ["a1", "a2", "b1", "b2"]


def test_no_more_is_made_ahead_than_the_bound() -> None:
    made: list[tuple[int, int]] = []
    enough = threading.Event()

    def stream(number: int) -> Generator[int, None, None]:
        for item in range(100):
            made.append((number, item))
            if number == 1 and item == 2:
                enough.set()
            yield item

    results = side_by_side((stream(number) for number in range(50)), workers=2)
    assert next(results) == 0
    assert enough.wait(60)
    results.close()  # type: ignore[attr-defined]
    # Of each: two in the queue, one in hand, one that was taken and one that the end let through.
    assert {number for number, _ in made} == {0, 1}
    assert max(item for _, item in made) <= 5


def test_an_error_comes_where_its_stream_stood() -> None:
    def breaking() -> Generator[str, None, None]:
        yield "b1"
        raise KeyError("b2")

    results = side_by_side([(letter for letter in "a"), breaking(), (letter for letter in "c")], workers=2)
    assert [next(results), next(results)] == ["a", "b1"]
    with pytest.raises(KeyError, match="b2"):
        next(results)


def test_streams_are_closed_when_the_caller_stops_early() -> None:
    closed: list[int] = []

    def stream(number: int) -> Generator[int, None, None]:
        try:
            while True:
                yield number
        finally:
            closed.append(number)

    results = side_by_side([stream(number) for number in range(2)], workers=2)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert sorted(closed) == [0, 1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_one_stream_is_drawn_ahead_and_closed_when_the_caller_leaves() -> None:
    closed, enough = threading.Event(), threading.Event()

    def numbers() -> Generator[int, None, None]:
        try:
            for number in range(100):
                if number == 4:
                    enough.set()
                yield number
        finally:
            closed.set()

    with drawn_ahead(numbers(), items=3) as drawn:
        assert enough.wait(60)  # though nothing was asked for yet
        assert [next(drawn), next(drawn)] == [0, 1]
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "draw-ahead"]
