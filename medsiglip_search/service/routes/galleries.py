"""Which galleries there are, and what they hold."""

from typing import Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from medsiglip_search.service.asking import Asked
from medsiglip_search.service.operations import holdings
from medsiglip_search.service.operations.searching import facets
from medsiglip_search.service.routes.requests import Body, TheCaller, TheService, remember_sent

router = APIRouter(prefix="/v1/galleries", tags=["galleries"], dependencies=[Depends(remember_sent)])


class FacetsRequest(Body):
    """columns: to be counted; by default those that most archives have, and those of labels."""

    where: str | None = Field(None, max_length=20_000)
    filters: dict[str, list[str | int | float | bool | None]] = Field({})
    columns: list[str] | None = None


class FacetValue(BaseModel):
    value: str | float | int | bool | None
    images: int


class FacetJson(BaseModel):
    column: str
    values: list[FacetValue]


@router.get("")
def list_galleries(service: TheService, caller: TheCaller) -> list[holdings.GalleryState]:
    """List the galleries that the caller may use."""
    return holdings.galleries(service, caller)


@router.get("/{gallery}")
def describe_gallery(gallery: str, service: TheService, caller: TheCaller) -> dict[str, Any]:
    """Tell what a gallery holds and how it was made."""
    return holdings.contents(service, caller, gallery)


@router.get("/{gallery}/rejected")
def list_rejected(
    gallery: str,
    service: TheService,
    caller: TheCaller,
    reason: str | None = None,
    start: int = Query(0, ge=0),
    count: int = Query(100, ge=1, le=1000),
) -> list[dict[str, Any]]:
    """List files and frames without an embedding, and why. Needs the role admin: names of files can tell."""
    return holdings.rejected(service, caller, gallery, reason, start, count)


@router.post("/{gallery}/facets")
def count_facets(
    gallery: str, asked: FacetsRequest, service: TheService, caller: TheCaller
) -> list[FacetJson]:
    """Tell how many of the images that pass the filters have which value of which column."""
    filters = {column: tuple(values) for column, values in asked.filters.items()}
    found = facets(service, caller, gallery, Asked(where=asked.where, filters=filters), asked.columns)
    return [
        FacetJson(
            column=facet.column,
            values=[FacetValue(value=value, images=images) for value, images in facet.values],
        )
        for facet in found
    ]
