"""Calls of the API: bounded in time, tried again where the service says so, their failures in words."""

import json
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

MOST_TRIES = 5
"""Of a request that the service has too many of."""

MOST_WAIT_S = 60.0
"""For the next try: where the service asks for more, its problem is told instead."""

EVENT_TIMEOUT_S = 60.0
"""Without a word in a stream, in which the service says something every 15 s."""

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class Problem(Exception):
    """What the service answers instead of a result.

    status: of HTTP. code: for programs; a word of `docs/api.md`, "" where something before the service has
    answered. request_id: by which the log of the service knows the request.
    """

    def __init__(self, status: int, code: str, detail: str, request_id: str = "") -> None:
        super().__init__(status, code, detail, request_id)
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id

    def __str__(self) -> str:
        where = f"; request {self.request_id}" if self.request_id else ""
        return f"{self.detail} ({self.code or 'no problem document'}, {self.status}{where})"


class Unreachable(Exception):
    """A service that does not answer, or whose answer broke off."""


class Calls:
    """The connections to one service."""

    def __init__(self, url: str, key: str | None, timeout_s: float) -> None:
        """Take where it is. Raises ValueError for an address that is none."""
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL:
            address = httpx.URL()
        if address.scheme not in ("http", "https") or not address.host:
            raise ValueError(f"{url}: no address of a service; give one such as http://localhost:7860")
        self._url = url.rstrip("/").removesuffix("/v1")
        self._http = httpx.Client(
            base_url=f"{self._url}/v1",
            headers={"Authorization": f"Bearer {key.strip()}"} if key else {},
            timeout=timeout_s,
            # A proxy of the environment is no way to this machine, and would see the pictures.
            trust_env=address.host not in LOCAL,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def json(self, method: str, place: str, **request: Any) -> Any:
        """Return what an answer's JSON says. request: as httpx takes it. Raises Problem, Unreachable."""
        with self.answer(method, place, **request) as answer:
            answer.read()
            try:
                return answer.json()
            except ValueError:
                raise _problem_of(answer) from None

    def content(self, method: str, place: str, **request: Any) -> bytes:
        """Return an answer's bytes. request: as httpx takes it. Raises Problem, Unreachable."""
        with self.answer(method, place, **request) as answer:
            return answer.read()

    def events(
        self, place: str, asked: Mapping[str, Any]
    ) -> Generator[tuple[str, dict[str, Any]], None, None]:
        """Yield the kind and the JSON of each event of a stream. Raises Problem, Unreachable."""
        accept = {"Accept": "text/event-stream"}
        with self.answer("POST", place, json=asked, headers=accept, timeout=EVENT_TIMEOUT_S) as answer:
            for kind, data in _events(answer.iter_bytes()):
                document = json.loads(data)
                if kind == "problem":
                    raise _problem(document)
                yield kind, document

    @contextmanager
    def answer(self, method: str, place: str, **request: Any) -> Iterator[httpx.Response]:
        """Yield a good answer, its body still to be read. Raises Problem, Unreachable."""
        try:
            for number in range(1, MOST_TRIES + 1):
                with self._http.stream(method, place, **request) as answer:
                    if answer.is_success:
                        yield answer
                        return
                    answer.read()
                wait_s = _wait_s(answer)
                if wait_s is None or wait_s > MOST_WAIT_S or number == MOST_TRIES:
                    raise _problem_of(answer)
                time.sleep(wait_s)
        except httpx.TimeoutException:
            raise Unreachable(
                f"{self._url}: no answer in time; ask for less at once, or pass timeout_s"
            ) from None
        except httpx.ConnectError as error:
            raise Unreachable(
                f"{self._url}: cannot be reached ({error}); is the service running, and is that its address?"
            ) from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unreachable(f"{self._url}: the connection failed ({error}); ask again") from None


def _events(pieces: Iterator[bytes]) -> Iterator[tuple[str, str]]:
    """Yield the kind and the data of each server-sent event (WHATWG HTML 9.2.6); comments pass."""
    kind, data, rest = "message", list[str](), b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            field, _, value = line.decode().rstrip("\r").partition(":")
            if field == "event":
                kind = value.removeprefix(" ")
            elif field == "data":
                data.append(value.removeprefix(" "))
            elif not field and not value:
                if data:
                    yield kind, "\n".join(data)
                kind, data = "message", []


def _wait_s(answer: httpx.Response) -> float | None:
    """Return when to try again, in s; None where that would not help."""
    told = answer.headers.get("retry-after", "")
    return float(told) if answer.status_code == 429 and told.isascii() and told.isdigit() else None


def _problem_of(answer: httpx.Response) -> Problem:
    try:
        return _problem(answer.json())
    except (ValueError, LookupError, TypeError):
        if answer.is_redirect:
            told = "the service is elsewhere; give the address that this one leads to, such as https://"
        else:
            told = "the answer is not the service's; is its address right, and does a proxy before it work?"
        return Problem(answer.status_code, "", told)


def _problem(document: Mapping[str, Any]) -> Problem:
    code = document["type"].removeprefix("urn:medsiglip-search:problem:")
    return Problem(document["status"], code, document["detail"], document["request_id"])
