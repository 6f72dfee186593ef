"""Images: what is known of one, its thumbnail, its full picture, and where it answers a text."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from medsiglip_search.explain.heatmap import layer, overlay
from medsiglip_search.images.thumbnail import png
from medsiglip_search.service.operations import image_labels, pictures
from medsiglip_search.service.routes.requests import Body, TheCaller, TheService, remember_sent

router = APIRouter(prefix="/v1", tags=["images"], dependencies=[Depends(remember_sent)])

PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
Frame = Annotated[int | None, Query(ge=0, description="Of the image's file; its own by default.")]
Window = Annotated[
    str | None, Query(max_length=60, description="A window's name, such as lung, or CENTRE,WIDTH.")
]
LabelSetName = Annotated[
    str | None, Query(max_length=100, description="A shipped label set, such as modality.")
]


class HeatmapRequest(Body):
    """text: what to look for in the picture; in the body, since addresses end in the logs of proxies.

    form: the picture with colours over it, or the colours alone, to be laid over it with any opacity.
    frame: of the image's file; its own by default.
    """

    text: str
    opacity: float = Field(0.6, ge=0, le=1)
    form: Literal["overlay", "layer"] = "overlay"
    frame: int | None = Field(None, ge=0)


class ImageResponse(BaseModel):
    """image: its columns. slices: the image_ids of its series by their position, itself included."""

    image: dict[str, Any]
    slices: list[int]


class ValueRangeResponse(BaseModel):
    """In modality units. window: what the file shows as black and as white, or what fits its values."""

    low: float
    high: float
    unit: str | None
    window: dict[str, Any]


class ValuesResponse(BaseModel):
    """values: of the image's frame; null where no window fits, as of colours."""

    frame_count: int
    values: ValueRangeResponse | None


class LabelsResponse(BaseModel):
    """decided: what columns of decisions hold. scored: the labels of a set, the likeliest first."""

    decided: dict[str, str]
    scored: dict[str, Any] | None


@router.get("/galleries/{gallery}/images/{image_id}")
def describe_image(gallery: str, image_id: int, service: TheService, caller: TheCaller) -> ImageResponse:
    """Tell what is known of an image."""
    facts = pictures.facts(service, caller, gallery, image_id)
    return ImageResponse(image=facts.row, slices=list(facts.slices))


@router.get("/galleries/{gallery}/images/{image_id}/values")
def values(gallery: str, image_id: int, service: TheService, caller: TheCaller) -> ValuesResponse:
    """Tell what of an image's file can be chosen: a frame, and a window over its values."""
    depth = pictures.values(service, caller, gallery, image_id)
    found = None if depth.values is None else ValueRangeResponse(**asdict(depth.values))
    return ValuesResponse(frame_count=depth.frame_count, values=found)


@router.get("/galleries/{gallery}/images/{image_id}/labels")
def labels(
    gallery: str, image_id: int, service: TheService, caller: TheCaller, label_set: LabelSetName = None
) -> LabelsResponse:
    """Tell what label runs have decided of an image and, of a shipped label set, how it scores."""
    decided = image_labels.decided(service, caller, gallery, image_id)
    scored = None
    if label_set is not None:
        scored = asdict(image_labels.labels_of(service, caller, gallery, image_id, label_set))
    return LabelsResponse(decided={one.column: one.decision for one in decided}, scored=scored)


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
    """Return the picture at its full size, rendered from its file; X-Frame-Count tells that file's frames."""
    shown = pictures.picture(service, caller, gallery, image_id, frame, window)
    return Response(png(shown.pixels), 200, {"X-Frame-Count": str(shown.frame_count)}, "image/png")


@router.post("/galleries/{gallery}/images/{image_id}/heatmap", response_class=Response, responses=PNG)
def heatmap(
    gallery: str, image_id: int, asked: HeatmapRequest, service: TheService, caller: TheCaller
) -> Response:
    """Return the picture, coloured where it answers a text; X-Hottest tells x and y of the hottest pixel."""
    shown, heat = pictures.heat(service, caller, gallery, image_id, asked.text, asked.frame)
    pixels = layer(heat) if asked.form == "layer" else overlay(shown.pixels, heat, asked.opacity)
    x, y = heat.hottest
    return Response(png(pixels), 200, {"X-Hottest": f"{x},{y}"}, "image/png")


@router.get("/uploads/{upload}/preview", response_class=Response, responses=JPEG)
def preview(upload: str, service: TheService, caller: TheCaller) -> Response:
    """Return a small picture of an upload."""
    return Response(pictures.preview(service, caller, upload), media_type="image/jpeg")
