"""Sessions of browsers: who is behind a cookie, in memory only, so that a restart ends them all."""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from medsiglip_search.errors import Unauthenticated
from medsiglip_search.service.callers import Principal

HOUR_S = 3600.0


@dataclass(slots=True)
class _Session:
    """check: whether what the principal has shown is still valid. begun, used: in seconds of the clock."""

    principal: Principal
    check: Callable[[], bool]
    begun: float
    used: float


class Sessions:
    """The sessions there are, by the hashes of their tokens; for any number of threads."""

    def __init__(
        self,
        idle_s: float = HOUR_S,
        most_s: float = 12 * HOUR_S,
        most_each: int = 20,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """End a session that is not used for so long, or that is so old, whatever it is used for.

        most_each: sessions of one principal; most: in all. One more ends that which began first.
        """
        self._idle_s, self._most_s = idle_s, most_s
        self._most_each, self._most = most_each, most
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[bytes, _Session] = {}  # in the order in which they began

    def begin(self, principal: Principal, check: Callable[[], bool] = lambda: True) -> str:
        """Return the token of a new session, 256 random bits; only its hash is kept.

        check: asked at each use; the session ends when it says no.
        """
        token = secrets.token_urlsafe(32)
        with self._lock:
            now = self._clock()
            for old in [hash_ for hash_, session in self._sessions.items() if self._is_over(session, now)]:
                del self._sessions[old]
            own = [hash_ for hash_, session in self._sessions.items() if _same(session.principal, principal)]
            for old in own[: max(0, len(own) + 1 - self._most_each)]:
                del self._sessions[old]
            while len(self._sessions) >= self._most:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[_hash(token)] = _Session(principal, check, now, now)
        return token

    def principal_of(self, token: str, *, is_use: bool = True) -> Principal:
        """Return whose session it is. Raises Unauthenticated, and what its check raises.

        is_use: whether it counts as used now.
        """
        hash_ = _hash(token)
        with self._lock:
            now = self._clock()
            session = self._sessions.get(hash_)
            if session is not None and not self._is_over(session, now):
                session.used = now if is_use else session.used
            else:
                self._sessions.pop(hash_, None)
                session = None
        if session is None or not session.check():
            self.end(token)
            raise Unauthenticated("the session has ended; log in again")
        return session.principal

    def end(self, token: str) -> None:
        """End the session, if it has not ended."""
        with self._lock:
            self._sessions.pop(_hash(token), None)

    @property
    def count(self) -> int:
        """How many are kept, some of which may be over."""
        with self._lock:
            return len(self._sessions)

    def _is_over(self, session: _Session, now: float) -> bool:
        return now - session.used >= self._idle_s or now - session.begun >= self._most_s


def _hash(token: str) -> bytes:
    # Looked up by its hash, a token cannot be found by how long the look-up takes.
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


def _same(one: Principal, other: Principal) -> bool:
    """Tell whether both are one user: two keys may bear the same name."""
    return (one.name, one.credential) == (other.name, other.credential)
