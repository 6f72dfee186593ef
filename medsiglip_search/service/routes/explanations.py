"""Explanations over HTTP: hits at once, then text while a model speaks, then all of it."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from medsiglip_search.service.operations import explaining
from medsiglip_search.service.operations.explaining import MOST_HITS, Explainable
from medsiglip_search.service.routes.requests import TheCaller, TheService, problem_for, remember_sent
from medsiglip_search.service.routes.searches import SearchRequest, SearchResponse

router = APIRouter(prefix="/v1", tags=["explain"], dependencies=[Depends(remember_sent)])

KEEP_ALIVE_S = 15.0
"""After so long without an event a comment is sent: proxies close what is silent."""

log = logging.getLogger(__name__)


class ExplanationRequest(SearchRequest):
    """A search, and how many of its hits are to be explained."""

    top_k: int = Field(3, ge=1, le=MOST_HITS)


class ExplanationResponse(SearchResponse):
    """The hits, and the explanation as `explain --json` prints it."""

    explanation: dict[str, Any]


DESCRIPTION = (
    "Server-sent events: `hits` (a search's answer) first; `waiting` where another explanation comes first; "
    "`piece` (subject and text) while the model speaks; `explanation` at the end, or `problem` (a problem "
    "document). Who asks for application/json gets all of it at the end."
)


@router.post(
    "/galleries/{gallery}/explanations",
    response_class=Response,
    responses={
        200: {
            "description": DESCRIPTION,
            "model": ExplanationResponse,
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def explain(
    gallery: str,
    asked: ExplanationRequest,
    service: TheService,
    caller: TheCaller,
    request: Request,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """Search a gallery, and say why the hits answer; the model stops when the client goes away."""
    begun = await run_in_threadpool(explaining.explainable, service, caller, gallery, asked.asked())
    running = _Running(begun)
    if "application/json" not in accept.lower():
        return _EventResponse(running, request)
    gone = asyncio.ensure_future(_gone(request, running))
    try:
        async for kind, told in running.events():
            if kind == "problem":
                raise told
    finally:
        gone.cancel()
    return JSONResponse({**_hits_json(begun), "explanation": told})


class _Running:
    """An explanation that is made in a thread of its own. stop: ends it."""

    def __init__(self, begun: Explainable) -> None:
        self.begun = begun
        self.stop = threading.Event()

    async def events(self) -> AsyncIterator[tuple[str, Any]]:
        """Yield kinds of events and what they tell; the last one is the explanation, or an error as problem.

        None for an event after every `KEEP_ALIVE_S` without one.
        """
        loop, told = asyncio.get_running_loop(), asyncio.Queue[tuple[str, Any]]()

        def tell(kind: str, what: Any) -> None:
            with suppress(RuntimeError):  # the service has ended meanwhile
                loop.call_soon_threadsafe(told.put_nowait, (kind, what))

        def work() -> None:
            try:
                explanation = self.begun.explain(
                    lambda subject, text: tell("piece", {"subject": subject, "text": text}),
                    self.stop,
                    lambda: tell("waiting", {}),
                )
                tell("explanation", explanation)
            except Exception as error:
                tell("problem", error)

        threading.Thread(target=work, name="explanation", daemon=True).start()
        kind = ""
        while kind not in ("explanation", "problem"):
            try:
                kind, what = await asyncio.wait_for(told.get(), KEEP_ALIVE_S)
            except TimeoutError:
                kind, what = "silence", None
            yield kind, what


class _EventResponse(EventSourceResponse):
    """Sends the events of an explanation; it stops the model however it ends."""

    def __init__(self, running: _Running, request: Request) -> None:
        super().__init__(self._body(running, request), headers={"X-Accel-Buffering": "no"})
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._running.stop.set()

    async def _body(self, running: _Running, request: Request) -> AsyncIterator[bytes]:
        yield _event("hits", _hits_json(running.begun))
        async for kind, told in running.events():
            if kind == "silence":
                yield KEEPALIVE_COMMENT
            elif kind == "problem":
                yield _event("problem", _problem(told, request))
            else:
                yield _event(kind, told)


async def _gone(request: Request, running: _Running) -> None:
    """Stop an explanation when its client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    running.stop.set()


def _event(kind: str, told: object) -> bytes:
    return format_sse_event(event=kind, data_str=json.dumps(told))


def _hits_json(begun: Explainable) -> dict[str, Any]:
    result = begun.found.result
    response = SearchResponse(
        hits=begun.found.hits, matches=result.matches, cursor=result.cursor, notes=list(result.notes)
    )
    return response.model_dump()


def _problem(error: Exception, request: Request) -> dict[str, Any]:
    """Return the document of a problem that comes when the answer has begun."""
    state = request.scope["state"]
    problem = problem_for(request, error)
    if problem.status == 500:
        log.error("failed", exc_info=error, extra={"fields": {"request_id": state["request_id"]}})
    return problem.document(state["request_id"])
