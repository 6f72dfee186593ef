"""How long something takes, on machines that are not quiet."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

Work = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pair:
    """Medians over rounds in which two things were done in turn. ratio: of the first to the second."""

    first_s: float
    second_s: float
    ratio: float


def seconds(work: Work, rounds: int = 5) -> float:
    """Return the median time, after one round that does not count."""
    work()
    return median(_timed(work) for _ in range(rounds))


def once(work: Work) -> tuple[float, Any]:
    """Return how long it took, and what came."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def paired(first: Work, second: Work, rounds: int = 7) -> Pair:
    """Do both in turn; what disturbs one round disturbs both."""
    first()
    second()
    times = [(_timed(first), _timed(second)) for _ in range(rounds)]
    firsts, seconds = zip(*times, strict=True)
    return Pair(median(firsts), median(seconds), median(a / b for a, b in times))


def _timed(work: Work) -> float:
    return once(work)[0]
