"""The body of a request, as much of it as may come, and as long as it may take."""

import asyncio
import time

from starlette.types import Message, Receive

from medsiglip_search.errors import ServiceError, TooLarge, Unavailable
from medsiglip_search.service.incoming import Incoming
from medsiglip_search.service.paths import takes_files
from medsiglip_search.service.settings import ServiceLimits

MOST_OF_A_CALL = 1 << 20
"""Bytes of a request that sends no file: JSON is read whole before anything is known of it."""

GONE: Message = {"type": "http.disconnect"}


class Body:
    """What comes of a body, piece by piece.

    refusal: why the rest is not taken; what is behind the gate sees a client that has gone.
    is_complete: whether all of it has come.
    """

    def __init__(self, incoming: Incoming, receive: Receive, limits: ServiceLimits) -> None:
        """Raises TooLarge for a body that says so itself."""
        is_file = takes_files(incoming.path)
        self._most_bytes = limits.body_bytes if is_file else min(limits.body_bytes, MOST_OF_A_CALL)
        self._receive = receive
        self._limits = limits
        self._until = time.monotonic() + limits.body_s
        self._bytes = 0
        self._read: bytes | None = None
        self._is_read = False
        self.refusal: ServiceError | None = None
        length = incoming.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most_bytes:
            raise self._too_large()

    @property
    def is_complete(self) -> bool:
        return self._is_read and self._read is None

    async def next(self) -> Message:
        """Return the next piece, until it is complete."""
        if self._read is not None:
            whole, self._read = self._read, None
            return {"type": "http.request", "body": whole, "more_body": False}
        wait_s = min(self._limits.body_wait_s, self._until - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), wait_s)
        except TimeoutError:
            self.refusal = Unavailable("the request did not come in time; send it again")
            return GONE
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._most_bytes:
            self.refusal = self._too_large()
            return GONE
        self._is_read = not message.get("more_body", False)
        return message

    async def whole(self) -> bytes:
        """Return all of it; `next` gives it once more. Raises TooLarge, Unavailable."""
        pieces: list[bytes] = []
        while not self._is_read:
            message = await self.next()
            if message["type"] != "http.request":
                raise self.refusal or Unavailable("the request did not come whole; send it again")
            pieces.append(message.get("body", b""))
        self._read = b"".join(pieces)
        return self._read

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the request is too large: at most {self._most_bytes >> 10} KiB; send less at once")
