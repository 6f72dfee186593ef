"""What routes read of a request."""

import json
from typing import Annotated

from fastapi import Depends, Request
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
    """Note all text of a request, so that no problem repeats it."""
    texts = [
        *request.query_params.keys(),
        *request.query_params.values(),
        *map(str, request.path_params.values()),
    ]
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            texts.extend(problems.texts_in(json.loads(await request.body())))
        except (ValueError, RecursionError):
            texts.append((await request.body()).decode("utf-8", "replace"))
    state = request.scope["state"]
    state["sent"] = texts
    service, name = request.app.state.service, request.path_params.get("gallery", "")
    if name in service.galleries and service.galleries[name].is_ready:
        state["known"] = service.galleries[name].view.gallery.columns()


TheService = Annotated[Service, Depends(_service)]
TheCaller = Annotated[Caller, Depends(_caller)]
