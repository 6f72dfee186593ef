"""What routes read of a request."""

import json
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict

from medsiglip_search.service import problems
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service


class Body(BaseModel):
    """What a client sends as JSON: fields that are not known are a mistake, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# Coroutines: other functions would be called in threads of their own, which takes longer than they do.
async def _service(request: Request) -> Service:
    return request.app.state.service


async def _caller(request: Request) -> Caller:
    return request.scope["state"]["caller"]


async def remember_sent(request: Request) -> None:
    """Keep the body of a request for `problem_for`, but for files, of which no message repeats anything."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        request.scope["state"]["body"] = await request.body()


def problem_for(request: Request, error: Exception) -> problems.Problem:
    """Return what a request is answered for an error: it repeats none of the words that the request had.

    Words of the API, of the galleries that the caller may use and of their columns stay, whoever says them.
    """
    state = request.scope["state"]
    service: Service = request.app.state.service
    sent = [*request.query_params.keys(), *request.query_params.values(), *request.path_params.values()]
    body = state.get("body", b"")
    try:
        sent.extend(problems.texts_in(json.loads(body)))
    except (ValueError, RecursionError):
        sent.append(body.decode("utf-8", "replace"))
    known = {*field_names(request.app), *state.get("known", ())}
    if "caller" in state:
        for name in state["caller"].seen(service.galleries):
            known |= {name, *service.visible_columns(service.galleries[name])}
    return problems.problem_of(error, map(str, sent), known, service.places)


def field_names(app: FastAPI) -> set[str]:
    """Return the names of all fields that the API has."""
    schemas = app.openapi()["components"]["schemas"].values()
    return {name for schema in schemas for name in schema.get("properties", ())}


TheService = Annotated[Service, Depends(_service)]
TheCaller = Annotated[Caller, Depends(_caller)]
