"""One call to a chat server, bounded in time and size. The home of httpx's client."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from medsiglip_search.errors import ExplainerFailed, ExplainerRefused
from medsiglip_search.explain.chat import Ended, Tell
from medsiglip_search.explain.kinds import HOW_TO_GIVE_A_KEY
from medsiglip_search.explain.server.address import Address
from medsiglip_search.explain.server.events import (
    BadAnswer,
    EventReader,
    ServerEvent,
    error_told,
    shortened,
    whole_answer,
)

MOST_ERROR_BYTES = 64 * 1024
"""Of an error's body that are read."""


@dataclass(frozen=True, slots=True)
class RemoteLimits:
    """What a server may take.

    connect_s: to accept. first_byte_s: from there until it says something, and between two signs of life
    until the first text. read_s: between two signs of life after it. total_s: all together, with the retry.
    most_bytes: of a response. most_characters_per_token: of an answer on average, beyond which the server has
    not kept to the tokens that were allowed. retry_s: before the second try where the server names no time;
    most_retry_s: the longest wait that it can ask for.
    """

    connect_s: float = 5.0
    first_byte_s: float = 60.0
    read_s: float = 30.0
    total_s: float = 300.0
    most_bytes: int = 4 * 1024 * 1024
    most_characters_per_token: int = 16
    retry_s: float = 0.5
    most_retry_s: float = 10.0


class _Passing(ExplainerFailed):
    """A failure that may be gone at the next try. wait_s: until then, None where the server does not say."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Said:
    """How an answer ended, and its tokens: as the server counts them, or its pieces."""

    ended: Ended
    tokens: int


class Caller:
    """Asks one server. Its key is in no message, whatever the server sends back."""

    def __init__(self, address: Address, key: str | None, limits: RemoteLimits) -> None:
        self._address = address
        self._key = key
        self._limits = limits

    async def models(self) -> list[str]:
        """Return the names of the server's models. Raises ExplainerFailed."""
        limits = self._limits
        try:
            async with asyncio.timeout(limits.first_byte_s):
                async with (
                    self._client() as client,
                    self._response(client, "GET", self._address.models) as response,
                ):
                    document = json.loads(await self._body(response, limits.most_bytes))
            return [model["id"] for model in document["data"] if isinstance(model["id"], str)]
        except TimeoutError as error:
            raise ExplainerFailed(self._says(f"did not answer within {limits.first_byte_s:g} s")) from error
        except BadAnswer as error:
            raise ExplainerFailed(self._says(f"sent {error}", error.told)) from error
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise ExplainerFailed(
                self._says("does not list its models as OpenAI-compatible servers do")
            ) from error

    async def chat(self, content: bytes, most_tokens: int, tell: Tell) -> Said:
        """Send a request for an answer and `tell` its pieces; try again once while nothing was said.

        content: the request's JSON. Raises ExplainerFailed.
        """
        limits = self._limits
        answer = _Answer(limits.most_characters_per_token * most_tokens, tell)
        try:
            async with asyncio.timeout(limits.total_s):
                try:
                    return await self._chat_once(content, answer)
                except _Passing as failure:
                    wait_s = limits.retry_s if failure.wait_s is None else failure.wait_s
                    if answer.pieces or wait_s > limits.most_retry_s:
                        raise
                    await asyncio.sleep(wait_s)
                    return await self._chat_once(content, answer)
        except TimeoutError as error:
            raise ExplainerFailed(self._says(f"did not finish within {limits.total_s:g} s")) from error

    async def _chat_once(self, content: bytes, answer: "_Answer") -> Said:
        try:
            async with (
                self._client() as client,
                self._response(client, "POST", self._address.chat, content) as response,
            ):
                async for event in self._events(response, answer):
                    if answer.take(event):
                        break
        except BadAnswer as error:
            raise ExplainerFailed(self._says(f"sent {error}", error.told)) from error
        if not answer.is_complete:
            raise _Passing(self._says("ended the connection in the middle of the answer"))
        if answer.finished == "content_filter":
            raise ExplainerRefused(self._says("withheld the answer (content_filter)"))
        return Said("length" if answer.finished == "length" else "whole", answer.tokens)

    async def _events(self, response: httpx.Response, answer: "_Answer") -> AsyncIterator[ServerEvent]:
        kind = response.headers.get("content-type", "text/event-stream").partition(";")[0].strip().lower()
        if kind == "application/json":
            yield whole_answer(await self._body(response, self._limits.most_bytes))
            return
        if kind != "text/event-stream":
            raise BadAnswer("a page and no answer; does its URL end in /v1?", kind)
        reader = EventReader()
        async for data in self._pieces(response, answer):
            for event in reader.feed(data):
                yield event
        for event in reader.end():
            yield event

    async def _pieces(self, response: httpx.Response, answer: "_Answer") -> AsyncIterator[bytes]:
        """Yield a body as it comes, within the limits of time and size; end quietly after the answer's."""
        limits, size = self._limits, 0
        body = response.aiter_raw()
        while True:
            wait_s = limits.read_s if answer.pieces else limits.first_byte_s
            try:
                async with asyncio.timeout(wait_s):
                    data = await anext(body, None)
            except (TimeoutError, httpx.TransportError) as error:
                if answer.is_complete:
                    return
                raise self._lost(error, f"sent nothing for {wait_s:g} s") from error
            if data is None:
                return
            size += len(data)
            if size > limits.most_bytes:
                raise ExplainerFailed(self._says(f"sent more than {limits.most_bytes} bytes"))
            yield data

    async def _body(self, response: httpx.Response, most: int) -> bytes:
        """Return a body of at most so many bytes."""
        body = bytearray()
        async for data in self._pieces(response, _Answer(0, lambda text: None)):
            body += data
            if len(body) > most:
                return bytes(body[:most])
        return bytes(body)

    def _client(self) -> httpx.AsyncClient:
        limits = self._limits
        # No answer is unpacked: a few kilobytes could become gigabytes.
        headers = {"Accept": "text/event-stream, application/json", "Accept-Encoding": "identity"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        timeout = httpx.Timeout(
            max(limits.first_byte_s, limits.read_s), connect=limits.connect_s, write=limits.total_s
        )
        # A proxy of the environment is no way to this machine, and would get the pictures.
        trust_env = not self._address.is_local
        try:
            return httpx.AsyncClient(
                headers=headers, timeout=timeout, follow_redirects=False, trust_env=trust_env
            )
        except (ValueError, OSError, ImportError) as error:
            raise ExplainerFailed(
                self._says(
                    "cannot be asked; look at the proxy and SSL variables of the environment", str(error)
                )
            ) from error

    @asynccontextmanager
    async def _response(
        self, client: httpx.AsyncClient, method: str, url: str, content: bytes | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Yield the response of a server that agrees to answer. Raises ExplainerFailed."""
        headers = {} if content is None else {"Content-Type": "application/json"}
        request = client.build_request(method, url, content=content, headers=headers)
        try:
            response = await client.send(request, stream=True)
        except httpx.TimeoutException as error:
            limits = self._limits
            connecting = isinstance(error, httpx.ConnectTimeout)
            within_s = limits.connect_s if connecting else max(limits.first_byte_s, limits.read_s)
            what = "did not accept a connection" if connecting else "did not answer"
            raise _Passing(self._says(f"{what} within {within_s:g} s")) from error
        except (httpx.TransportError, OSError) as error:
            raise self._lost(error, "") from error
        try:
            await self._check(response)
            yield response
        finally:
            await response.aclose()

    async def _check(self, response: httpx.Response) -> None:
        """Raise what a response is that holds no answer."""
        status = response.status_code
        if response.headers.get("content-encoding", "identity") not in ("", "identity"):
            raise BadAnswer("a compressed answer that was not asked for")
        if status == 200:
            return
        if 300 <= status < 400:
            raise ExplainerFailed(
                self._says(f"redirects elsewhere ({status}), which is not followed; give that URL")
            )
        told = await self._told(response)
        if status in (401, 403):
            what = "the key is wrong" if self._key else f"it wants a key: {HOW_TO_GIVE_A_KEY}"
            raise ExplainerFailed(self._says(f"refused ({status}); {what}", told))
        if status in (404, 405):
            raise ExplainerFailed(self._says(f"has no such model or path ({status})", told))
        if status == 429:
            raise _Passing(self._says("is busy (429)", told), _retry_after_s(response))
        if status >= 500 or status == 408:
            raise _Passing(self._says(f"broke down ({status})", told), _retry_after_s(response))
        raise ExplainerRefused(self._says(f"refused what it was asked ({status})", told))

    async def _told(self, response: httpx.Response) -> str:
        try:
            return error_told(await self._body(response, MOST_ERROR_BYTES))
        except ExplainerFailed:
            return ""

    def _lost(self, error: Exception, silent: str) -> _Passing:
        """Return a connection's failure in the user's words."""
        if isinstance(error, TimeoutError):
            return _Passing(self._says(silent))
        if isinstance(error, httpx.ConnectError | httpx.ProxyError | OSError):
            return _Passing(self._says("cannot be reached; is it running?", str(error)))
        return _Passing(self._says("broke off before its answer was whole", str(error)))

    def _says(self, what: str, told: str = "") -> str:
        """Return a message about the server, with its own words, which may quote the key that it was sent."""
        if self._key:
            told = told.replace(self._key, "(key)")
        words = shortened(told)
        return f"{self._address.base}: {what}" + (f" ({words})" if words else "")


class _Answer:
    """An answer on its way: what was told of it, and whether that is all."""

    def __init__(self, most_characters: int, tell: Tell) -> None:
        self._left = most_characters
        self._tell = tell
        self._counted: int | None = None
        self.pieces = 0
        self.finished: str | None = None
        self.is_complete = False

    @property
    def tokens(self) -> int:
        return self.pieces if self._counted is None else self._counted

    def take(self, event: ServerEvent) -> bool:
        """Take a step, and return whether there is no more to wait for."""
        if event.tokens is not None:
            self._counted = event.tokens
        if event.text:
            self.pieces += 1
            self._tell(event.text[: self._left])
            self._left -= len(event.text)
        if event.finished:
            self.finished = event.finished
        if self._left < 0:
            # The server does not keep to max_tokens.
            self.finished = "length"
        self.is_complete = self.is_complete or self.finished is not None or event.is_last
        return event.is_last or self._left < 0


def _retry_after_s(response: httpx.Response, now_s: Callable[[], float] = time.time) -> float | None:
    """Return what Retry-After asks for, seconds or a date (RFC 9110, 10.2.3), in s; None without one."""
    value: Any = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now_s())
    except (ValueError, TypeError, OverflowError):
        return None
