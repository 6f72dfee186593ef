"""What the service keeps for a user between two requests, in memory only: uploads, the links of searches."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from medsiglip_search.errors import Gone

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    owner: str
    value: T
    size: int
    until: float


class Kept(Generic[T]):
    """Values under tokens that nobody can guess, each for the user who left it. For any number of threads.

    most, most_bytes: for each owner; most_in_all, most_bytes_in_all: of everybody's. The oldest make room.
    """

    def __init__(
        self,
        what: str,
        *,
        seconds: float,
        most: int,
        most_bytes: int | None = None,
        most_in_all: int = 10_000,
        most_bytes_in_all: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep values for so many seconds. what: how a message calls one."""
        self._what = what
        self._seconds = seconds
        self._most = most
        self._most_bytes = most_bytes
        self._most_in_all = most_in_all
        self._most_bytes_in_all = most_bytes_in_all
        self._clock = clock
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, owner: str, value: T, size: int = 0) -> str:
        """Return the token under which `value`, of so many bytes, is kept for `owner`."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._entries[token] = _Entry(owner, value, size, self._clock() + self._seconds)
            self._make_room(owner)
        return token

    def get(self, owner: str, token: str) -> T:
        """Return what was kept for `owner`. Raises Gone for what is not there, or is another user's."""
        with self._lock:
            entry = self._entries.get(token)
            if entry is None or entry.owner != owner or entry.until < self._clock():
                raise Gone(f"this {self._what} is not there any more; make it again")
            return entry.value

    def _make_room(self, owner: str) -> None:
        now = self._clock()
        for token in [token for token, entry in self._entries.items() if entry.until < now]:
            del self._entries[token]
        own = [(token, entry) for token, entry in self._entries.items() if entry.owner == owner]
        size = sum(entry.size for _, entry in own)
        # The newest stays, be it too large on its own: its request was within the limit of one.
        for number, (token, entry) in enumerate(own[:-1]):
            is_over = self._most_bytes is not None and size > self._most_bytes
            if len(own) - number <= self._most and not is_over:
                break
            del self._entries[token]
            size -= entry.size
        size = sum(entry.size for entry in self._entries.values())
        while len(self._entries) > 1 and self._is_too_much(size):
            size -= self._entries.popitem(last=False)[1].size

    def _is_too_much(self, size: int) -> bool:
        is_over = self._most_bytes_in_all is not None and size > self._most_bytes_in_all
        return is_over or len(self._entries) > self._most_in_all
