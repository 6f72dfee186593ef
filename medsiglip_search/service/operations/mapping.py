"""The map of a gallery: where its images lie, in which colours, and which of them lie in an area."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from medsiglip_search.errors import InvalidQuery, TooLarge
from medsiglip_search.service.asking import Asked, Link
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.colouring import Colouring
from medsiglip_search.service.core import Service
from medsiglip_search.service.galleries import View
from medsiglip_search.service.mapping import METHODS, Area, Method, Projection

NO_COLOURS = frozenset(
    {"image_id", "archive", "uri", "source_digest", "pixel_digest", "mtime_ns", "instance", "flags"}
)
"""Columns that differ from image to image, or name places on the server."""

MOST_SELECTED = 50_000
"""So many images can be searched in by their ids; a filter of more takes seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """A gallery as a map.

    rows: which of the projection's images are drawn. colouring: None where no column was chosen.
    progress: how far another projection has come, which was asked for and will take this one's place.
    """

    projection: Projection
    rows: np.ndarray
    colouring: Colouring | None
    progress: str


def colours(service: Service, caller: Caller, name: str) -> list[str]:
    """Return the columns of a gallery by which its map can be coloured."""
    return _colours(service, service.gallery(caller, name).view)


def mapped(
    service: Service, caller: Caller, name: str, colour: str | None = None, method: Method = "pca"
) -> Mapped:
    """Return a gallery as a map, by PCA while UMAP is at work.

    colour: a column of `colours`. Raises NotFound, Unavailable, InvalidQuery.
    """
    with service.audit.watch(caller, "map", name) as entry:
        view = service.gallery(caller, name).view
        if method not in METHODS:
            raise InvalidQuery(f"there is no such method; use {' or '.join(METHODS)}")
        if colour is not None and colour not in _colours(service, view):
            raise InvalidQuery(f"a map has no such colour; use {', '.join(_colours(service, view))}")
        projection = view.maps.projection(method)
        rows = projection.sample()
        entry.details["images"] = len(rows)
        chosen = None if colour is None else view.maps.colouring(colour)
        return Mapped(projection, rows, chosen, view.maps.progress if method != projection.method else "")


def selected(
    service: Service,
    caller: Caller,
    name: str,
    area: Area | None,
    method: Method = "pca",
    colour: str | None = None,
    without: Collection[int] = (),
) -> np.ndarray:
    """Return the image_ids, (N,) int64 ascending, of all images in an area of the map, drawn or not.

    area: None for the whole map. without: codes of `colour` that are left out. Raises as `mapped`.
    """
    with service.audit.watch(caller, "map", name) as entry:
        view = service.gallery(caller, name).view
        projection = view.maps.projection(method)
        chosen = np.ones(len(projection.image_ids), bool)
        if area is not None:
            chosen &= area.holds(projection.unit())
        if colour in _colours(service, view) and without:
            chosen &= ~np.isin(view.maps.colouring(colour).codes, list(without))
        entry.details["selected"] = int(chosen.sum())
        return projection.image_ids[chosen]


def search_in(service: Service, caller: Caller, name: str, image_ids: np.ndarray) -> str:
    """Return the token of a search in these images alone. Raises NotFound, TooLarge, InvalidQuery."""
    with service.audit.watch(caller, "map", name) as entry:
        entry.details["selected"] = len(image_ids)
        gallery = service.gallery(caller, name)
        if not len(image_ids):
            raise InvalidQuery("there is no image in this area; select another one")
        if len(image_ids) > MOST_SELECTED:
            raise TooLarge(f"these are too many to search in: select at most {MOST_SELECTED:,} images")
        asked = Asked(filters={"image_id": tuple(image_ids.tolist())})
        return service.links.keep(caller.principal.owner, Link(gallery.name, asked))


def _colours(service: Service, view: View) -> list[str]:
    left_out = NO_COLOURS | service.settings.hidden
    return [column for column in view.gallery.columns() if column not in left_out]
