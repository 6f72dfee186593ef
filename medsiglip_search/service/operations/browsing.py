"""Images by filters alone, with nothing to look for."""

from dataclasses import dataclass
from typing import Any

from medsiglip_search.service.asking import Asked
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.operations.pictures import row_json
from medsiglip_search.service.operations.searching import condition_of, told


@dataclass(frozen=True, slots=True, eq=False)
class Browsed:
    """Images that pass filters. rows: as hits, without a rank and scores. count: of all that pass them."""

    rows: list[dict[str, Any]]
    count: int


def browse(service: Service, caller: Caller, name: str, asked: Asked, start: int = 0) -> Browsed:
    """Return the `top_k` images from `start` on that pass the filters of `asked`, those added last first.

    Raises NotFound, Unavailable, InvalidQuery.
    """
    with service.audit.watch(caller, "browse", name) as entry:
        entry.details["query"] = service.digest_of(caller, asked)
        gallery = service.gallery(caller, name)
        view = gallery.view
        found = view.selections.select(condition_of(service, gallery, asked))
        image_ids = (view.gallery.select(None) if found is None else found)[::-1]
        shown = image_ids[start : start + asked.top_k]
        entry.subjects = [str(image_id) for image_id in shown]
        instances = view.gallery.instances(shown) if len(shown) else []
        return Browsed([told(service, gallery, row_json(one)) for one in instances], len(image_ids))
