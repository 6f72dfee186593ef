"""How often somebody may ask."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from medsiglip_search.errors import TooManyRequests

MOST_NAMES = 10_000


@dataclass(slots=True)
class _Bucket:
    """left: what can be spent at once, as it was at the time `at`."""

    left: float
    at: float


class Rates:
    """A bucket of tokens for each name, which fills slowly; for any number of threads."""

    def __init__(
        self,
        per_minute: float,
        burst: float,
        what: str = "requests",
        most_names: int = MOST_NAMES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Let each name spend `burst` at once and `per_minute` in the long run.

        what: is counted, as a message calls it. most_names: that are remembered; one more, and that which
        spent the longest ago is taken to have spent nothing.
        """
        self._per_s = per_minute / 60
        self._burst = burst
        self._what = what
        self._most_names = most_names
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}  # in the order of their last use

    def spend(self, name: str, cost: float = 1.0) -> None:
        """Take `cost` from the name's bucket, at most all that it can hold.

        Raises TooManyRequests where there is less in it, and takes nothing then.
        """
        cost = min(cost, self._burst)
        with self._lock:
            bucket = self._filled(name)
            missing = cost - bucket.left
            if missing <= 0:
                bucket.left -= cost
                return
        wait_s = missing / self._per_s
        raise TooManyRequests(
            f"too many {self._what} in a short time; try again in {math.ceil(wait_s)} s", wait_s
        )

    def give_back(self, name: str, cost: float = 1.0) -> None:
        """Put back what was spent on something that shall not count."""
        with self._lock:
            bucket = self._filled(name)
            bucket.left = min(bucket.left + cost, self._burst)

    @property
    def count(self) -> int:
        """How many names are remembered."""
        with self._lock:
            return len(self._buckets)

    def _filled(self, name: str) -> _Bucket:
        """Return the name's bucket, filled up to now and the last in order."""
        now = self._clock()
        bucket = self._buckets.pop(name, None) or _Bucket(self._burst, now)
        bucket.left = min(bucket.left + (now - bucket.at) * self._per_s, self._burst)
        bucket.at = now
        while len(self._buckets) >= self._most_names:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[name] = bucket
        return bucket
