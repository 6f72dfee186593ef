"""Which way to compute is the fastest here, as a short measurement finds."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

AS_FAST = 1.05
"""What takes at most so much longer than the fastest is as fast. A choice by noise would embed otherwise in
the next process: each way rounds in its own way."""


def fastest(ways: Sequence[T], seconds: Callable[[T], float]) -> T | None:
    """Return the first of the fastest; None if none can be measured.

    seconds: how long a way takes; raises where it does not run on this machine.
    """
    taken: list[tuple[T, float]] = []
    for way in ways:
        try:
            taken.append((way, seconds(way)))
        except Exception as error:  # of torch, OpenVINO, a driver: in as many types as there are ways
            log.debug("%s: does not run here: %s", way, error)
    if not taken:
        return None
    limit = AS_FAST * min(took for _, took in taken)
    best = next(way for way, took in taken if took <= limit)
    told = ", ".join(f"{way} {1e3 * took:.2f} ms" for way, took in taken)
    log.info("%s, the fastest of %s", best, told)
    return best
