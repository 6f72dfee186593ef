"""Connections: how many there may be, and how long one may take to say what it asks for."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 4_000
"""So many may be open at once; one more is answered with 503. A page of the browser holds two or three."""

HEAD_S = 30.0
"""So long a request's line and headers may take, from when it is connected or the last answer has ended."""


class TimedProtocol(H11Protocol):
    """HTTP/1.1 that does not wait for ever for a request to begin: the server itself sets no such limit."""

    head_s = HEAD_S

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._too_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        # What still comes of a body that was refused counts as waiting, too.
        answered = self.cycle
        super().on_response_complete()
        if self.cycle is answered:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._too_late = self.loop.call_later(self.head_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None
