"""What every request passes before anything looks at it: host, origin, size, who it is, how often."""

import asyncio
import base64
import json
import logging
import re
import secrets
import time
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medsiglip_search.errors import (
    Forbidden,
    InvalidQuery,
    MedSiglipSearchError,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from medsiglip_search.service import login_page, problems
from medsiglip_search.service.audit import Event
from medsiglip_search.service.callers import Caller, Principal, anonymous_caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.headers import security_headers
from medsiglip_search.service.paths import (
    CANCEL,
    HEARTBEAT,
    JOIN,
    LISTEN,
    OWN,
    is_endless,
    is_files,
    is_open,
    is_page,
    is_served,
    takes_files,
)

SESSION_COOKIE = "medsiglip_session"
HTML = "text/html; charset=utf-8"
FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"})
"""Headers that proxies add."""

QUIET = frozenset({"files", "/healthz", "/readyz"})
"""Routes that are asked for all the time and tell nothing; they are counted, and not in the log."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
MOST_OF_A_CALL = 1 << 20
"""Bytes of a request that sends no file."""

LOOK_S = 5.0
"""How often it is looked whether somebody may still listen to an answer that does not end."""

SAFE_METHODS = frozenset({"GET", "HEAD"})

log = logging.getLogger(__name__)


class Gate:
    """ASGI middleware around the API and the pages alike: nothing that it does not let in is reached."""

    def __init__(self, app: ASGIApp, service: Service, pages: Collection[str]) -> None:
        """Take what is behind it. pages: the paths of the browser pages."""
        self._app = app
        self._service = service
        self._pages = frozenset(pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _Passage(self._app, self._service, self._pages, scope, receive, send).go()
        else:  # nothing here speaks over WebSockets
            await send({"type": "websocket.close", "code": 1008})


class _Passage:
    """One request on its way through."""

    def __init__(
        self,
        app: ASGIApp,
        service: Service,
        pages: frozenset[str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._app = app
        self._service = service
        self._pages = pages
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers = Headers(scope=scope)
        self._id = secrets.token_hex(8)
        self._nonce = base64.b64encode(secrets.token_bytes(16)).decode()
        self._began = time.perf_counter()
        self._status = 0
        self._body_bytes = 0
        self._body: bytes | None = None
        self._refusal: Exception | None = None
        self._page: list[Message] = []
        self._who = ""

    async def go(self) -> None:
        state = self._scope.setdefault("state", {})
        state["request_id"] = self._id
        try:
            try:
                await self._admit(state)
            except Exception as error:
                self._service.metrics.refused.labels(type(error).__name__).inc()
                if not isinstance(error, MedSiglipSearchError):
                    self._log_failure()
                if isinstance(error, Unauthenticated) and "authorization" in self._headers:
                    nobody = anonymous_caller(self._address, self._id)
                    refused = Event("refused", nobody, outcome="refused")
                    await run_in_threadpool(self._service.record_seldom, refused)
                await self._answer(error)
                return
            await self._app(self._scope, self._bounded_receive, self._sealed_send)
        except Exception as error:
            if self._status:  # the answer has begun, and can only be broken off
                self._log_failure()
                raise
            self._log_failure()
            await self._answer(error)
        finally:
            self._count()

    async def _admit(self, state: dict[str, Any]) -> None:
        """Raise a ServiceError unless the request may go on."""
        path, method = self._scope["path"], self._scope["method"]
        self._require_host()
        self._require_no_proxy()
        self._require_origin(method)
        self._require_length()
        if is_open(path):
            state["address"] = self._address
            return
        caller = self._caller()
        state["caller"] = caller
        self._who = caller.principal.name
        if not is_files(path):
            self._service.rates.spend(caller.principal.owner)
        if not is_served(path, self._pages):
            raise NotFound("there is nothing at this address; the pages are at /, the API under /v1")
        await self._require_own_tab(caller.principal)

    async def _require_own_tab(self, principal: Principal) -> None:
        """Raise NotFound for a call of a page that names a tab of somebody else."""
        path = self._scope["path"]
        tab: object = None
        if path.startswith(HEARTBEAT):
            tab = path.removeprefix(HEARTBEAT)
        elif path == LISTEN:
            tab = (parse_qs(self._scope["query_string"].decode("latin-1")).get("session_hash") or [None])[-1]
        elif path in (JOIN, CANCEL) and self._scope["method"] == "POST":
            self._body = await self._whole_body()
            try:
                tab = json.loads(self._body).get("session_hash")
            except (ValueError, AttributeError, RecursionError):
                tab = None
        else:
            return
        if not isinstance(tab, str) or not tab:
            raise InvalidQuery("the call names no tab; load the page again")
        self._service.tabs.require(tab, f"{principal.owner} {principal.credential}")

    async def _whole_body(self) -> bytes:
        """Return the body of a page's call. Raises TooLarge, Unavailable."""
        pieces: list[bytes] = []
        while self._body_bytes >= 0:
            message = await self._bounded_receive()
            if message["type"] != "http.request":
                raise self._refusal or Unavailable("the request did not come whole; send it again")
            pieces.append(message.get("body", b""))
        return b"".join(pieces)

    def _caller(self) -> Caller:
        principal = self._service.access.principal_of(self._headers.get("authorization"), self._cookie())
        return Caller(principal, self._address, self._id)

    @property
    def _address(self) -> str:
        client = self._scope.get("client")
        return client[0] if client else ""

    def _cookie(self) -> str | None:
        try:
            cookies = SimpleCookie(self._headers.get("cookie", ""))
        except CookieError:
            return None
        name = self._service.cookie(SESSION_COOKIE)
        return cookies[name].value if name in cookies else None

    def _require_host(self) -> None:
        try:
            host = (urlsplit(f"//{self._headers.get('host', '')}").hostname or "").lower()
        except ValueError:  # "[" opens an address of IPv6 that is none
            host = ""
        if host not in self._service.hosts:
            raise Forbidden(
                "the service is not known under this host; an administrator adds it with --allow-host"
            )

    def _require_no_proxy(self) -> None:
        """Refuse what a proxy passes on to an open service: it would be open to all who reach the proxy."""
        if self._service.access.settings.is_open and not FORWARDED.isdisjoint(self._headers.keys()):
            raise Forbidden("the service is open to its own machine alone; behind a proxy it needs --keys")

    def _require_origin(self, method: str) -> None:
        """Refuse what another site's page sends: a browser adds the user's cookie to it."""
        if method in SAFE_METHODS:
            return
        origin = self._headers.get("origin")
        if origin is None:
            # Browsers say it with every request that changes something; programs have no cookie to abuse.
            if self._headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                raise Forbidden("requests from pages of other sites are refused")
        elif origin.lower() not in self._service.origins:
            raise Forbidden("requests from pages of other sites are refused; --allow-origin adds one")

    def _require_length(self) -> None:
        length = self._headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most_bytes:
            raise self._too_large()

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the request is too large: at most {self._most_bytes >> 10} KiB; send less at once")

    @property
    def _most_bytes(self) -> int:
        """How large the body may be: whoever sends JSON has it read before anything is known of it."""
        most = self._service.settings.limits.body_bytes
        return most if takes_files(self._scope["path"]) else min(most, MOST_OF_A_CALL)

    async def _bounded_receive(self) -> Message:
        """Receive the next piece of the body, as long as it is not too much and comes in time."""
        if self._body is not None:  # the gate has read it
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if self._body_bytes < 0:  # the body is complete; what comes is that the client has gone
            return await self._departure()
        limits = self._service.settings.limits
        left_s = limits.body_s - (time.perf_counter() - self._began)
        try:
            message = await asyncio.wait_for(self._receive(), min(limits.body_wait_s, left_s))
        except TimeoutError:
            self._refusal = Unavailable("the request did not come in time; send it again")
            return {"type": "http.disconnect"}
        self._body_bytes += len(message.get("body", b""))
        if self._body_bytes > self._most_bytes:
            self._refusal = self._too_large()
            return {"type": "http.disconnect"}
        if not message.get("more_body", False):
            self._body_bytes = -1
        return message

    async def _departure(self) -> Message:
        """Receive that the client has gone; of an endless answer also that the service or its right ends."""
        if not is_endless(self._scope["path"]):
            return await self._receive()
        gone = asyncio.ensure_future(self._receive())
        ends = asyncio.ensure_future(self._service.ending.wait())
        try:
            while not (ends.done() or self._is_out()):
                await asyncio.wait((gone, ends), timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    return gone.result()
        finally:
            gone.cancel()
            ends.cancel()
        return {"type": "http.disconnect"}

    def _is_out(self) -> bool:
        """Tell whether who listens to the API may do so no more, such as with a key that was revoked."""
        if not self._scope["path"].startswith("/v1/"):
            return False
        shown = self._headers.get("authorization"), self._cookie()
        try:
            self._service.access.principal_of(*shown, is_use=False)
        except MedSiglipSearchError:
            return True
        return False

    async def _sealed_send(self, message: Message) -> None:
        """Send on, with the headers that keep an answer where it belongs."""
        if message["type"] == "http.response.start":
            if self._refusal is not None:
                await self._answer(self._refusal)
                return
            headers = MutableHeaders(scope=message)
            self._status = message["status"]
            for name, value in security_headers(self._scope["path"], self._id, self._nonce).items():
                headers[name] = value
            if headers.get("content-type", "").startswith("text/html") and is_page(
                self._scope["path"], self._pages
            ):
                self._page = [message]  # its length is not known before its scripts have their nonce
                return
        elif self._refusal is not None:
            return
        elif self._page:
            self._page.append(message)
            if not message.get("more_body", False):
                await self._send_page()
            return
        await self._send(message)

    async def _send_page(self) -> None:
        """Send a page whose own scripts may run, and no others."""
        start, *pieces = self._page
        body = b"".join(piece.get("body", b"") for piece in pieces)
        body = re.sub(rb"<script\b", b'<script nonce="' + self._nonce.encode() + b'"', body)
        MutableHeaders(scope=start)["content-length"] = str(len(body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    async def _answer(self, error: Exception) -> None:
        """Answer with a problem, or, to a person who is not signed in, with the page to do so."""
        sent = [*self._query_texts(), self._scope["path"]]
        problem = problems.problem_of(error, sent, places=self._service.places)
        body, media_type = problem.body(self._id), problems.MEDIA_TYPE
        if isinstance(error, Unauthenticated) and self._wants_page():
            place = login_page.place_here(
                self._scope["path"] + "?" + self._scope["query_string"].decode("latin-1")
            )
            body, media_type = login_page.page(self._service.access, next_place=place.rstrip("?")), HTML
        self._status = problem.status
        headers = {
            "content-type": media_type,
            "content-length": str(len(body)),
            **security_headers(self._scope["path"], self._id, self._nonce),
            **problem.headers,
        }
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": problem.status, "headers": raw})
        await self._send(
            {"type": "http.response.body", "body": b"" if self._scope["method"] == "HEAD" else body}
        )

    def _wants_page(self) -> bool:
        is_shown = self._scope["method"] == "GET" and "text/html" in self._headers.get("accept", "")
        return is_shown and is_page(self._scope["path"], self._pages)

    def _query_texts(self) -> list[str]:
        asked = parse_qs(self._scope["query_string"].decode("latin-1"), keep_blank_values=True)
        return [text for name, values in asked.items() for text in (name, *values)]

    def _route(self) -> str:
        """Return what is asked for without whatever a client has put into it."""
        route = getattr(self._scope.get("route"), "path", None)
        path = self._scope["path"]
        if is_page(path, self._pages) or is_open(path) or path in OWN:
            return path
        return route if route and path.startswith("/v1") else "files" if is_files(path) else "other"

    @property
    def _method(self) -> str:
        """The method, where it is a word of HTTP: a client may send any."""
        method = self._scope["method"]
        return method if method in METHODS else "other"

    def _count(self) -> None:
        seconds = time.perf_counter() - self._began
        route = self._route()
        metrics = self._service.metrics
        metrics.requests.labels(self._method, route, str(self._status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        if route not in QUIET:
            fields = {
                "request_id": self._id,
                "method": self._method,
                "route": route,
                "status": self._status,
                "ms": round(1000 * seconds, 1),
                "who": self._who,
            }
            log.info("request", extra={"fields": fields})

    def _log_failure(self) -> None:
        log.exception("failed", extra={"fields": {"request_id": self._id, "route": self._route()}})
