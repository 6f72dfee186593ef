"""A server that keeps failing is left alone for a while, instead of every question waiting for it."""

import threading
import time
from collections.abc import Callable


class Breaker:
    """Counts failures running; after `most` of them nothing is asked for `pause_s`, then one trial is made.

    clock: seconds, of any origin. Safe among threads.
    """

    def __init__(
        self, most: int = 3, pause_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most = most
        self._pause_s = pause_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until_s = 0.0
        self._is_trying = False

    def wait_s(self) -> float:
        """Return 0 where the server may be asked now, and else for how long not.

        After 0 exactly one of `worked`, `failed` and `given_up` must follow.
        """
        with self._lock:
            if self._failures < self.most:
                return 0.0
            # At least a second while another's trial is under way, which ends nobody knows when.
            left_s = max(self._open_until_s - self._clock(), 1.0 if self._is_trying else 0.0)
            if left_s <= 0:
                self._is_trying = True
                return 0.0
            return left_s

    def worked(self) -> None:
        """Note an answer, which forgives every failure before it."""
        with self._lock:
            self._failures, self._is_trying = 0, False

    def failed(self) -> None:
        """Note a failure."""
        with self._lock:
            self._failures += 1
            self._open_until_s = self._clock() + self._pause_s
            self._is_trying = False

    def given_up(self) -> None:
        """Note a question whose end says nothing of the server: it was cancelled, or was itself at fault."""
        with self._lock:
            self._is_trying = False
