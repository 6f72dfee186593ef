"""Search, and how what can be found spreads over columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medsiglip_search import filters, wire
from medsiglip_search.errors import InvalidQuery, TooLarge
from medsiglip_search.queries import Image, Query
from medsiglip_search.records import Hit, Result
from medsiglip_search.service.asking import Asked
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.facets import Facet
from medsiglip_search.service.galleries import OpenGallery


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The answer. query: as it was asked of the gallery. hits: as JSON has them, without what is hidden."""

    query: Query
    result: Result
    hits: list[dict[str, Any]]


def search(service: Service, caller: Caller, name: str, asked: Asked) -> Found:
    """Return what the gallery of this name has for what is asked.

    Raises NotFound, Unavailable, TooLarge, Gone for an upload, and what `Searcher.search` raises.
    """
    with service.audit.watch(caller, "search", name) as entry:
        entry.details["query"] = service.digest_of(caller, asked)
        gallery = service.gallery(caller, name)
        query = query_of(service, caller, gallery, asked)
        result = gallery.search(query)
        entry.subjects = [str(hit.instance.image_id) for hit in result]
        return Found(query, result, [told_hit(service, gallery, hit) for hit in result])


def facets(
    service: Service,
    caller: Caller,
    name: str,
    asked: Asked,
    columns: Sequence[str] | None = None,
    alternatives: bool = False,
) -> list[Facet]:
    """Return the columns of a gallery with how many of the images that pass the filters have which value.

    alternatives: whether a column's own filter is left out for that column, to tell what else there is.
    """
    with service.audit.watch(caller, "facets", name) as entry:
        entry.details["query"] = service.digest_of(caller, asked)
        gallery = service.gallery(caller, name)
        counted, visible = gallery.view.facets, service.visible_columns(gallery)
        wanted = [one for one in columns or counted.columns() if one in visible]
        if not alternatives:
            return counted.count(condition_of(service, gallery, asked), wanted)
        return [
            facet
            for column in wanted
            for facet in counted.count(
                condition_of(service, gallery, _unfiltered_by(asked, column)), [column]
            )
        ]


def query_of(service: Service, caller: Caller, gallery: OpenGallery, asked: Asked) -> Query:
    """Return what is asked of the gallery. Raises TooLarge, Gone, InvalidQuery."""
    limits = service.settings.limits
    if sum(map(len, asked.texts)) > limits.text_chars:
        raise TooLarge(f"the words are too many: give at most {limits.text_chars} characters")
    if asked.top_k > limits.top_k:
        raise TooLarge(f"top_k is too high: at most {limits.top_k} on a page; the cursor has the next ones")
    if not service.settings.hidden.isdisjoint({asked.group_by, "study" if asked.study else None}):
        raise InvalidQuery("what the search groups by or asks about is not told here; leave it out")
    images = [
        Image(service.uploads.get(caller.principal.owner, one.upload).content, one.region, one.weight)
        for one in asked.images
    ]
    return Query(
        text=asked.text,
        images=images,
        like=asked.like,
        study=asked.study,
        parts=asked.parts,
        without=asked.without,
        unlike=asked.unlike,
        as_case=asked.as_case,
        where=condition_of(service, gallery, asked),
        group_by=asked.group_by,
        other_patients=asked.other_patients,
        min_relevance=asked.min_relevance,
        top_k=asked.top_k,
        cursor=asked.cursor,
    )


def condition_of(service: Service, gallery: OpenGallery, asked: Asked) -> str | None:
    """Return the filter, in SQL; None where there is none. Raises InvalidQuery."""
    view = gallery.view
    visible = service.visible_columns(gallery)
    conditions = []
    if asked.where is not None and asked.where.strip():
        hidden = set(view.gallery.columns()).difference(visible)
        conditions.append(filters.checked(asked.where, visible, hidden))
    if asked.filters:
        conditions.append(filters.of_values(asked.filters, visible, view.gallery.schema))
    if not conditions:
        return None
    condition = " AND ".join(conditions)
    try:
        view.selections.select(condition)
    except InvalidQuery:
        # The store's own words tell of columns that are hidden, and of its insides.
        raise filters.invalid(
            "it is no condition that can be answered: look at the names of columns, and at quotes", visible
        ) from None
    return condition


def _unfiltered_by(asked: Asked, column: str) -> Asked:
    others = {name: values for name, values in asked.filters.items() if name != column}
    return replace(asked, filters=others)


def told_hit(service: Service, gallery: OpenGallery, hit: Hit) -> dict[str, Any]:
    """Return a hit as JSON has it, with the addresses of its pictures and without what is hidden."""
    return told(service, gallery, wire.hit_json(hit))


def told(service: Service, gallery: OpenGallery, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a gallery as JSON has it: with the addresses of its pictures, without what is hidden.

    An archive is told by the name that the service knows it by, never by its place on the server.
    """
    place = f"/v1/galleries/{gallery.name}/images/{row['image_id']}"
    shown = {
        **row,
        "archive": service.archive_name(str(row["archive"])),
        "thumbnail": f"{place}/thumbnail",
        "picture": f"{place}/picture",
    }
    return {column: cell for column, cell in shown.items() if column not in service.settings.hidden}
