"""What there is: galleries, what each holds, what was rejected."""

from dataclasses import dataclass
from typing import Any

from medsiglip_search import wire
from medsiglip_search.service.audit import Event
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service


@dataclass(frozen=True, slots=True)
class GalleryState:
    """A gallery by name. problem: why it cannot be asked, or stays at an older version."""

    name: str
    ready: bool
    images: int | None
    problem: str | None


def galleries(service: Service, caller: Caller) -> list[GalleryState]:
    """Return the galleries that the caller may use."""
    states = []
    for name in caller.seen(service.galleries):
        gallery = service.galleries[name]
        images = len(gallery.view.gallery) if gallery.is_ready else None
        states.append(GalleryState(name, gallery.is_ready, images, gallery.problem))
    service.record_seldom(Event("contents", caller, details={"galleries": len(states)}))
    return states


def contents(service: Service, caller: Caller, name: str) -> dict[str, Any]:
    """Return what a gallery holds and how it was made, as `inspect --json`, without places on the server."""
    with service.audit.watch(caller, "contents", name):
        told = wire.gallery_json(service.gallery(caller, name).view.gallery)
    told["columns"] = [column for column in told["columns"] if column not in service.settings.hidden]
    if told["last_run"] is not None:
        told["last_run"]["archives"] = [service.archive_name(one) for one in told["last_run"]["archives"]]
    return {"name": name, **told}


def rejected(
    service: Service, caller: Caller, name: str, reason: str | None, start: int, count: int
) -> list[dict[str, Any]]:
    """Return files and frames without an embedding, and why, in the order in which they were rejected.

    Raises Forbidden for all but administrators: the names of files can name people.
    """
    with service.audit.watch(caller, "rejected", name) as entry:
        gallery = service.gallery(caller, name)
        caller.require("admin")
        listed = gallery.view.gallery.rejected()
        rows = [wire.rejected_json(one) for one in listed if reason is None or one.reason == reason]
        entry.details["rows"] = len(rows[start : start + count])
        return rows[start : start + count]
