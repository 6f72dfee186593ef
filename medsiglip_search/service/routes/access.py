"""Signing in and out, for people with a browser, and who one is."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel

from medsiglip_search import __version__
from medsiglip_search.errors import MedSiglipSearchError, ServiceError, TooManyRequests
from medsiglip_search.service import login_page, problems
from medsiglip_search.service.audit import Event, Outcome
from medsiglip_search.service.callers import Caller, Role, anonymous_caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.gate import SESSION_COOKIE
from medsiglip_search.service.routes.requests import TheCaller, TheService

router = APIRouter(tags=["access"])

PENDING_COOKIE = "medsiglip_login"
PENDING_S = 600
CALLBACK = "/login/oidc/callback"


class Me(BaseModel):
    """name, role: of the caller. galleries: those it may use; null for all. version: of the service."""

    name: str
    role: Role
    galleries: list[str] | None
    version: str


@router.get("/v1")
def me(caller: TheCaller) -> Me:
    """Tell who the caller is to the service."""
    principal = caller.principal
    galleries = None if principal.galleries is None else sorted(principal.galleries)
    return Me(name=principal.name, role=principal.role, galleries=galleries, version=__version__)


@router.get("/login", response_class=HTMLResponse, include_in_schema=False)
def login(service: TheService) -> Response:
    """Show the page to sign in."""
    return HTMLResponse(login_page.page(service.access))


@router.post("/login", response_class=HTMLResponse, include_in_schema=False)
def login_with_key(
    request: Request,
    service: TheService,
    key: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Begin a session for whom a key stands."""
    try:
        session = service.access.login_with_key(key, _address(request))
    except MedSiglipSearchError as error:
        return _refused(service, request, error, [key], login_page.place_here(next))
    return _signed_in(service, request, session, login_page.place_here(next))


@router.get("/login/oidc", include_in_schema=False)
async def login_with_oidc(request: Request, service: TheService) -> Response:
    """Send the browser to the provider of logins."""
    try:
        back = str(request.base_url).rstrip("/") + CALLBACK
        url, pending = await service.access.begin_login(_address(request), back)
    except MedSiglipSearchError as error:
        return _refused(service, request, error)
    answer = RedirectResponse(url, 303)
    _set_cookie(answer, service, PENDING_COOKIE, pending, PENDING_S)
    return answer


@router.get(CALLBACK, include_in_schema=False)
async def finish_oidc(request: Request, service: TheService) -> Response:
    """Begin a session for whom the provider has sent back."""
    try:
        session = await service.access.finish_login(
            dict(request.query_params), _cookie(service, request, PENDING_COOKIE), _address(request)
        )
    except MedSiglipSearchError as error:
        return _refused(service, request, error, request.query_params.values())
    answer = _signed_in(service, request, session, "/")
    _forget_cookie(answer, service, PENDING_COOKIE)
    return answer


@router.post("/logout", include_in_schema=False)
def logout(request: Request, service: TheService, caller: TheCaller) -> Response:
    """End the session."""
    service.access.logout(_cookie(service, request, SESSION_COOKIE))
    service.audit.record(Event("logout", caller))
    answer = RedirectResponse("/login", 303)
    _forget_cookie(answer, service, SESSION_COOKIE)
    return answer


def _signed_in(service: Service, request: Request, session: str, place: str) -> Response:
    principal = service.access.principal_of(None, session)
    caller = Caller(principal, _address(request), request.scope["state"]["request_id"])
    service.audit.record(Event("login", caller))
    # The browser loses the cookie of the session before, which would stay open until it is over.
    service.access.logout(_cookie(service, request, SESSION_COOKIE))
    answer = RedirectResponse(place, 303)
    _set_cookie(answer, service, SESSION_COOKIE, session, None)
    return answer


def _refused(
    service: Service,
    request: Request,
    error: MedSiglipSearchError,
    sent: Iterable[str] = (),
    place: str = "/",
) -> Response:
    """Record a login that failed, and show the page again with what is wrong.

    Of those that come too often the audit has one a minute: they cost whoever sends them nothing.
    """
    outcome: Outcome = "refused" if isinstance(error, ServiceError) else "failed"
    nobody = anonymous_caller(_address(request), request.scope["state"]["request_id"])
    event = Event("login", nobody, outcome=outcome)
    if isinstance(error, TooManyRequests):
        service.record_seldom(event)
    else:
        service.audit.record(event)
    problem = problems.problem_of(error, sent)
    page = login_page.page(service.access, problem.detail, place)
    return HTMLResponse(page, problem.status, dict(problem.headers))


def _address(request: Request) -> str:
    return request.scope["state"]["address"]


def _cookie(service: Service, request: Request, name: str) -> str:
    return request.cookies.get(service.cookie(name), "")


def _set_cookie(answer: Response, service: Service, name: str, value: str, seconds: int | None) -> None:
    # Lax: the provider of logins sends the browser here from another site. The gate asks for the origin of
    # whatever changes something.
    answer.set_cookie(
        service.cookie(name),
        value,
        max_age=seconds,
        httponly=True,
        samesite="lax",
        secure=service.settings.is_secure,
    )


def _forget_cookie(answer: Response, service: Service, name: str) -> None:
    answer.delete_cookie(
        service.cookie(name), httponly=True, samesite="lax", secure=service.settings.is_secure
    )
