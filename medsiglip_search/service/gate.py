"""What every request passes before anything looks at it: host, origin, size, who it is, how often."""

import asyncio
import base64
import json
import logging
import re
import secrets
import time
from collections.abc import Collection
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medsiglip_search.errors import (
    Gone,
    InvalidQuery,
    MedSiglipSearchError,
    NotFound,
    Unauthenticated,
)
from medsiglip_search.service import login_page, problems
from medsiglip_search.service.admission import require_admission
from medsiglip_search.service.audit import Event
from medsiglip_search.service.bodies import GONE, Body
from medsiglip_search.service.callers import Caller, Principal, anonymous_caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.headers import security_headers
from medsiglip_search.service.incoming import Incoming
from medsiglip_search.service.paths import (
    CANCEL,
    HEARTBEAT,
    JOIN,
    LISTEN,
    RUN,
    is_endless,
    is_files,
    is_open,
    is_page,
    is_page_call,
    is_served,
)

SESSION_COOKIE = "medsiglip_session"
HTML = "text/html; charset=utf-8"
STATUS = "status"
"""In the state of a request: the status of its answer, where its library has one for whatever went wrong."""

QUIET = frozenset({"files", "/healthz", "/readyz"})
"""Routes that are asked for all the time and tell nothing; they are counted, and not in the log."""

LOOK_S = 5.0
"""How often it is looked whether somebody may still listen to an answer that does not end."""

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
        self._incoming = Incoming(scope)
        self._id = secrets.token_hex(8)
        self._nonce = base64.b64encode(secrets.token_bytes(16)).decode()
        self._began = time.perf_counter()
        self._status = 0
        self._body: Body
        self._page: list[Message] = []
        self._instead: Exception | None = None  # told instead of what is behind the gate has answered
        self._who = ""

    async def go(self) -> None:
        state = self._scope.setdefault("state", {})
        state["request_id"] = self._id
        try:
            try:
                await self._admit(state)
            except Exception as error:
                await self._refuse(error)
                return
            await self._app(self._scope, self._receive_on, self._send_on)
        except Exception as error:
            self._log_failure()
            if not self._status:
                await self._answer(error)
            elif self._instead is None:  # the answer has begun, and can only be broken off
                raise
        finally:
            self._count()

    async def _admit(self, state: dict[str, Any]) -> None:
        """Raise a ServiceError unless the request may go on."""
        path = self._incoming.path
        require_admission(self._service, self._incoming)
        self._body = Body(self._incoming, self._receive, self._service.settings.limits)
        if is_open(path):
            state["address"] = self._incoming.address
            return
        principal = self._service.access.principal_of(*self._shown())
        state["caller"] = Caller(principal, self._incoming.address, self._id)
        self._who = principal.name
        if not is_files(path):
            self._service.rates.spend(principal.owner)
        if not is_served(path, self._pages):
            raise NotFound("there is nothing at this address; the pages are at /, the API under /v1")
        await self._require_own_tab(principal)

    async def _require_own_tab(self, principal: Principal) -> None:
        """Raise NotFound for a call of a page that names a tab of somebody else."""
        path = self._incoming.path
        tab: object = None
        if path.startswith(HEARTBEAT):
            tab = path.removeprefix(HEARTBEAT)
        elif path == LISTEN:
            tab = self._incoming.query.get("session_hash", [None])[-1]
        elif path in (RUN, JOIN, CANCEL) and self._incoming.method == "POST":
            try:
                tab = json.loads(await self._body.whole()).get("session_hash")
            except (ValueError, AttributeError, RecursionError):
                tab = None
        else:
            return
        if not isinstance(tab, str) or not tab:
            raise InvalidQuery("the call names no tab; load the page again")
        self._service.tabs.require(tab, f"{principal.owner} {principal.credential}")

    def _shown(self) -> tuple[str | None, str | None]:
        """Return what the request shows of who it is from: a header, and the token of a session."""
        cookie = self._incoming.cookie(self._service.cookie(SESSION_COOKIE))
        return self._incoming.headers.get("authorization"), cookie

    async def _refuse(self, error: Exception) -> None:
        """Answer a request that is not let in."""
        self._service.metrics.refused.labels(type(error).__name__).inc()
        if not isinstance(error, MedSiglipSearchError):
            self._log_failure()
        if isinstance(error, Unauthenticated) and "authorization" in self._incoming.headers:
            nobody = anonymous_caller(self._incoming.address, self._id)
            refused = Event("refused", nobody, outcome="refused")
            await run_in_threadpool(self._service.record_seldom, refused)
        await self._answer(error)

    async def _receive_on(self) -> Message:
        """Receive the body, and then that the client has gone."""
        return await (self._departure() if self._body.is_complete else self._body.next())

    async def _departure(self) -> Message:
        """Receive that the client has gone; of an endless answer also that the service or its right ends."""
        if not is_endless(self._incoming.path):
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
        return GONE

    def _is_out(self) -> bool:
        """Tell whether who listens to the API may do so no more, such as with a key that was revoked."""
        if not self._incoming.path.startswith("/v1/"):
            return False
        try:
            self._service.access.principal_of(*self._shown(), is_use=False)
        except MedSiglipSearchError:
            return True
        return False

    async def _send_on(self, message: Message) -> None:
        """Send on, with the headers that keep an answer where it belongs."""
        if message["type"] == "http.response.start":
            message["status"] = self._scope["state"].get(STATUS, message["status"])
            self._instead = self._refusal_of(message["status"])
            if self._instead is not None:
                await self._answer(self._instead)
                return
            headers = MutableHeaders(scope=message)
            self._status = message["status"]
            headers.update(self._own_headers())
            is_html = headers.get("content-type", "").startswith("text/html")
            if is_html and is_page(self._incoming.path, self._pages):
                self._page = [message]  # its length is not known before its scripts have their nonce
                return
        elif self._instead is not None:
            return
        elif self._page:
            self._page.append(message)
            if not message.get("more_body", False):
                await self._send_page()
            return
        await self._send(message)

    def _refusal_of(self, status: int) -> Exception | None:
        """Return what is told instead of an answer of this status; None where that may go out."""
        if self._body.refusal is not None:
            return self._body.refusal
        if is_page_call(self._incoming.path) and status >= 400 and STATUS not in self._scope["state"]:
            # The pages' library makes no sense of what it got, and would repeat it.
            return Gone("the page does not fit the service any more; load it again")
        return None

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
        problem = problems.problem_of(error, self._incoming.texts, places=self._service.places)
        # A page shows what its library calls the error, and nothing else of an answer.
        for_page = {"error": problem.words(self._id)} if self._incoming.path == RUN else {}
        body, media_type = problem.body(self._id, **for_page), problems.MEDIA_TYPE
        if isinstance(error, Unauthenticated) and self._wants_page():
            place = login_page.place_here(self._incoming.place)
            body, media_type = login_page.page(self._service.access, next_place=place), HTML
        self._status = problem.status
        told = {"content-type": media_type, "content-length": str(len(body)), **problem.headers}
        headers = [
            (name.lower().encode(), value.encode()) for name, value in (told | self._own_headers()).items()
        ]
        await self._send({"type": "http.response.start", "status": problem.status, "headers": headers})
        is_head = self._incoming.method == "HEAD"
        await self._send({"type": "http.response.body", "body": b"" if is_head else body})

    def _own_headers(self) -> dict[str, str]:
        return security_headers(self._incoming.path, self._id, self._nonce)

    def _wants_page(self) -> bool:
        incoming = self._incoming
        is_shown = incoming.method == "GET" and "text/html" in incoming.headers.get("accept", "")
        return is_shown and is_page(incoming.path, self._pages)

    def _count(self) -> None:
        seconds = time.perf_counter() - self._began
        method, route = self._incoming.method, self._incoming.route(self._pages)
        metrics = self._service.metrics
        metrics.requests.labels(method, route, str(self._status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        if route not in QUIET:
            fields = {
                "request_id": self._id,
                "method": method,
                "route": route,
                "status": self._status,
                "ms": round(1000 * seconds, 1),
                "who": self._who,
            }
            log.info("request", extra={"fields": fields})

    def _log_failure(self) -> None:
        fields = {"request_id": self._id, "route": self._incoming.route(self._pages)}
        log.exception("failed", extra={"fields": fields})
