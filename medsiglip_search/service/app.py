"""The service as an ASGI application: the API, the pages if there are any, and the gate around both."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match
from starlette.types import Lifespan

from medsiglip_search import __version__
from medsiglip_search.errors import (
    Conflict,
    Forbidden,
    InvalidQuery,
    MedSiglipSearchError,
    NotFound,
    TooLarge,
)
from medsiglip_search.service import problems
from medsiglip_search.service.core import Service
from medsiglip_search.service.gate import Gate
from medsiglip_search.service.openapi import DescribedApi
from medsiglip_search.service.routes import (
    access,
    explanations,
    galleries,
    health,
    images,
    jobs,
    labels,
    maps,
    searches,
)
from medsiglip_search.service.routes.requests import problem_for

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

MountPages = Callable[[FastAPI, Service], Collection[str]]
"""Adds the browser pages to an application and returns their paths."""

DESCRIPTION = (
    "Search, label and explain archives of medical images. Research software, not a medical device. Every "
    "request needs a key (`Authorization: Bearer msk_...`), unless the service is open to its own machine "
    "alone. Errors are problem documents (RFC 9457); their `request_id` is in the service's log."
)


def create_app(service: Service, mount_pages: MountPages | None = None) -> FastAPI:
    """Return the application; it starts the service with its first request and closes it with its last."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close()

    app = described_api(lifespan)
    app.state.service = service
    app.add_api_route("/v1/{rest:path}", _nothing_here, methods=METHODS, include_in_schema=False)
    for kind in (MedSiglipSearchError, OSError):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    pages = mount_pages(app, service) if mount_pages is not None else ()
    app.add_middleware(Gate, service=service, pages=frozenset(pages))
    return app


def described_api(lifespan: Lifespan[FastAPI] | None = None) -> DescribedApi:
    """Return the API without a service behind it: enough to say what there is."""
    app = DescribedApi(
        title="medsiglip-search",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        generate_unique_id_function=lambda route: route.name,
        # With a policy of its own here, which lets no other site in, Gradio reflects no origin.
        middleware=[Middleware(CORSMiddleware, allow_origins=[])],
    )
    for routes in (access, health, galleries, searches, images, labels, jobs, explanations, maps):
        app.include_router(routes.router)
    return app


def _nothing_here(request: Request) -> None:
    """Say that there is nothing at an address of the API; the pages, which come after it, know no better."""
    kinds = (route.matches(request.scope)[0] for route in request.app.router.routes)
    raise HTTPException(405 if Match.PARTIAL in kinds else 404)


def _answer(request: Request, error: Exception) -> Response:
    return _response(request, problem_for(request, error))


def _answer_invalid(request: Request, error: Exception) -> Response:
    """Say which fields do not do, by their places; what was sent there, and names made up there, stay out."""
    assert isinstance(error, RequestValidationError)
    told = "; ".join(dict.fromkeys(_place_and_reason(one) for one in error.errors()))
    invalid = InvalidQuery(f"{told}. GET /openapi.json describes the fields")
    return _response(request, problem_for(request, invalid))


def _place_and_reason(error: dict[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return f"{error['loc'][0]} has a field that there is not"
    if error["type"] == "json_invalid":
        return "the body is not JSON"
    # The second part of a place is a field of ours; what follows may be a name that the client made up.
    return f"{'.'.join(map(str, error['loc'][:2]))}: {error['msg'][:1].lower()}{error['msg'][1:]}"


def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known: dict[int, Exception] = {
        404: NotFound("there is nothing at this address; GET /openapi.json lists what there is"),
        405: Conflict("this address does not take this method; GET /openapi.json lists what there is"),
        413: TooLarge("the request is too large; send less at once"),
        403: Forbidden("this is not allowed"),
    }
    fallback = InvalidQuery("the request cannot be read; GET /openapi.json describes what is expected")
    problem = problems.problem_of(known.get(error.status_code, fallback))
    if error.status_code == 405:
        problem = problems.Problem(405, "method-not-allowed", "Not this method", problem.detail, {})
    return _response(request, problem)


def _response(request: Request, problem: problems.Problem) -> Response:
    body = problem.body(request.scope["state"]["request_id"])
    return Response(body, problem.status, dict(problem.headers), problems.MEDIA_TYPE)
