"""Whether the service is alive, whether it can be asked, and what it has counted."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from medsiglip_search.errors import Forbidden
from medsiglip_search.service import metrics
from medsiglip_search.service.audit import Event
from medsiglip_search.service.routes.requests import TheCaller, TheService

router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: Literal["ok", "loading"]


@router.get("/healthz")
def healthz() -> Health:
    """Tell that the process answers."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"description": "Some gallery cannot be asked yet"}})
def readyz(service: TheService, response: Response) -> Health:
    """Tell whether all galleries can be asked; which of them cannot is told to those who are signed in."""
    if all(gallery.is_ready for gallery in service.galleries.values()):
        return Health(status="ok")
    response.status_code = 503
    return Health(status="loading")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics_text(service: TheService, caller: TheCaller) -> Response:
    """Return what is counted, for Prometheus. Needs the role admin."""
    try:
        caller.require("admin")
    except Forbidden:
        service.record_seldom(Event("refused", caller, outcome="refused"))
        raise
    for name, gallery in service.galleries.items():
        service.metrics.ready.labels(name).set(gallery.is_ready)
        service.metrics.images.labels(name).set(len(gallery.view.gallery) if gallery.is_ready else 0)
    service.metrics.count_jobs([job.state for job in service.jobs.jobs()])
    return Response(service.metrics.text(), media_type=metrics.CONTENT_TYPE)
