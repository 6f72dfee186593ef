"""Images: what is known of one, its thumbnail, its full picture, and where it answers a text."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from medsiglip_search.explain.heatmap import overlay
from medsiglip_search.images.thumbnail import png
from medsiglip_search.service.operations import pictures
from medsiglip_search.service.routes.requests import Body, TheCaller, TheService, remember_sent

router = APIRouter(prefix="/v1", tags=["images"], dependencies=[Depends(remember_sent)])

PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
Frame = Annotated[int | None, Query(ge=0, description="Of the image's file; its own by default.")]
Window = Annotated[
    str | None, Query(max_length=60, description="A window's name, such as lung, or CENTRE,WIDTH.")
]


class HeatmapRequest(Body):
    """text: what to look for in the picture; in the body, since addresses end in the logs of proxies."""

    text: str
    opacity: float = Field(0.6, ge=0, le=1)


class ImageResponse(BaseModel):
    """image: its columns. slices: the image_ids of its series in the order of their position, itself included."""

    image: dict[str, Any]
    slices: list[int]


@router.get("/galleries/{gallery}/images/{image_id}")
def describe_image(gallery: str, image_id: int, service: TheService, caller: TheCaller) -> ImageResponse:
    """Tell what is known of an image."""
    facts = pictures.facts(service, caller, gallery, image_id)
    return ImageResponse(image=facts.row, slices=list(facts.slices))


@router.get("/galleries/{gallery}/images/{image_id}/thumbnail", response_class=Response, responses=JPEG)
def thumbnail(gallery: str, image_id: int, service: TheService, caller: TheCaller) -> Response:
    """Return the small picture that the gallery keeps; 204 if it keeps none."""
    content = pictures.thumbnail(service, caller, gallery, image_id)
    return Response(content, media_type="image/jpeg") if content else Response(status_code=204)


@router.get("/galleries/{gallery}/images/{image_id}/picture", response_class=Response, responses=PNG)
def picture(
    gallery: str,
    image_id: int,
    service: TheService,
    caller: TheCaller,
    frame: Frame = None,
    window: Window = None,
) -> Response:
    """Return the picture at its full size, rendered from its file; X-Frame-Count tells how many frames that has."""
    shown = pictures.picture(service, caller, gallery, image_id, frame, window)
    return Response(png(shown.pixels), 200, {"X-Frame-Count": str(shown.frame_count)}, "image/png")


@router.post("/galleries/{gallery}/images/{image_id}/heatmap", response_class=Response, responses=PNG)
def heatmap(
    gallery: str, image_id: int, asked: HeatmapRequest, service: TheService, caller: TheCaller
) -> Response:
    """Return the picture, coloured where it answers a text."""
    shown, heat = pictures.heat(service, caller, gallery, image_id, asked.text)
    return Response(png(overlay(shown.pixels, heat, asked.opacity)), media_type="image/png")


@router.get("/uploads/{upload}/preview", response_class=Response, responses=JPEG)
def preview(upload: str, service: TheService, caller: TheCaller) -> Response:
    """Return a small picture of an upload."""
    return Response(pictures.preview(service, caller, upload), media_type="image/jpeg")
