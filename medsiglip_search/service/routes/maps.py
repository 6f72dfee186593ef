"""The map of a gallery over HTTP."""

from typing import Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from medsiglip_search.records import Value
from medsiglip_search.service.operations import mapping
from medsiglip_search.service.routes.requests import TheCaller, TheService, remember_sent

router = APIRouter(prefix="/v1", tags=["map"], dependencies=[Depends(remember_sent)])


class MapPoint(BaseModel):
    """An image. value: of the column that was asked for; null without one."""

    image_id: int
    x: float
    y: float
    value: Value


class MapResponse(BaseModel):
    """A gallery in two dimensions.

    method: by which it is projected. images: of the gallery; points: all of them, or a sample that is always
    the same. progress: how far UMAP has come where it was asked for and PCA is answered; empty otherwise.
    """

    method: Literal["pca", "umap"]
    images: int
    points: list[MapPoint]
    progress: str


@router.get("/galleries/{gallery}/map")
def show_map(
    gallery: str,
    service: TheService,
    caller: TheCaller,
    colour: str | None = None,
    method: Literal["pca", "umap"] = "pca",
) -> MapResponse:
    """Tell where the images of a gallery lie: those whose embeddings are alike lie near each other."""
    shown = mapping.mapped(service, caller, gallery, colour, method)
    projection, rows = shown.projection, shown.rows
    values = [None] * len(rows) if shown.colouring is None else shown.colouring.values[rows].tolist()
    points = [
        MapPoint.model_construct(image_id=image_id, x=x, y=y, value=value)
        for image_id, (x, y), value in zip(
            projection.image_ids[rows].tolist(), projection.places[rows].tolist(), values, strict=True
        )
    ]
    return MapResponse.model_construct(
        method=projection.method, images=len(projection.image_ids), points=points, progress=shown.progress
    )
