"""Pictures: thumbnails, the full picture through a window, where it answers a text, and uploads to ask with."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medsiglip_search import filters
from medsiglip_search.errors import InvalidQuery, NotFound, TooLarge
from medsiglip_search.explain.heatmap import Heatmap, heatmap
from medsiglip_search.images.thumbnail import thumbnail as small_jpeg
from medsiglip_search.records import Instance, Picture
from medsiglip_search.service.asking import Upload
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.galleries import OpenGallery
from medsiglip_search.service.operations.searching import told
from medsiglip_search.volumes import sorted_slices
from medsiglip_search.windows import RenderSpec, parse_window

MOST_SLICES = 2_000


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is told of an image. row: its columns, without what is hidden. slices: the image_ids of its series, in
    their order; itself alone where it is of none."""

    row: dict[str, Any]
    slices: tuple[int, ...]


def thumbnail(service: Service, caller: Caller, name: str, image_id: int) -> bytes:
    """Return the small JPEG of an image; b"" if it has none. Raises NotFound, Unavailable."""
    with service.audit.watch(caller, "thumbnail", name) as entry:
        entry.subjects = [str(image_id)]
        gallery = service.gallery(caller, name)
        _instance(gallery, image_id)
        return gallery.view.gallery.thumbnails([image_id])[0]


def facts(service: Service, caller: Caller, name: str, image_id: int) -> ImageFacts:
    """Return what is told of an image. Raises NotFound, Unavailable."""
    with service.audit.watch(caller, "metadata", name) as entry:
        entry.subjects = [str(image_id)]
        gallery = service.gallery(caller, name)
        instance = _instance(gallery, image_id)
        return ImageFacts(told(service, gallery, row_json(instance)), tuple(_slices(gallery, instance)))


def picture(
    service: Service,
    caller: Caller,
    name: str,
    image_id: int,
    frame: int | None = None,
    window: str | None = None,
) -> Picture:
    """Return an image at its full size, as the gallery renders it, or through a window.

    frame: of its file; the image's own by default. window: a name of `CT_WINDOWS` or "CENTRE,WIDTH".
    Raises NotFound, Unavailable, InvalidQuery, and Unreadable where its file cannot be read any more.
    """
    with service.audit.watch(caller, "picture", name) as entry:
        entry.subjects = [str(image_id)]
        gallery = service.gallery(caller, name)
        return _picture(service, gallery, _instance(gallery, image_id), frame, window)


def heat(service: Service, caller: Caller, name: str, image_id: int, text: str) -> tuple[Picture, Heatmap]:
    """Return an image, and which places of it answer `text`. Raises as `picture`, and ExplainerUnavailable."""
    with service.audit.watch(caller, "heatmap", name) as entry:
        entry.subjects = [str(image_id)]
        entry.details["query"] = service.digest([text])
        gallery = service.gallery(caller, name)
        if not text.strip():
            raise InvalidQuery("the text is empty; say what to look for in the picture")
        if len(text) > service.settings.limits.text_chars:
            raise TooLarge(
                f"the words are too many: give at most {service.settings.limits.text_chars} characters"
            )
        shown = _picture(service, gallery, _instance(gallery, image_id), None, None)
        return shown, heatmap(gallery.view.searcher.encoder, shown.pixels, text)


def upload(service: Service, caller: Caller, content: bytes) -> tuple[str, Upload]:
    """Return the token of a picture to ask with, and what is known of it; its content decides what it is.

    Raises Unreadable.
    """
    with service.audit.watch(caller, "upload") as entry:
        entry.details["bytes"] = len(content)
        shown = service.guard.read(content, RenderSpec())
        rows, columns = shown.pixels.shape[:2]
        kept = Upload(
            content,
            small_jpeg(shown.pixels),
            shown.attributes.modality,
            rows,
            columns,
            shown.frame_count,
        )
        return service.uploads.keep(caller.principal.name, kept, len(content)), kept


def preview(service: Service, caller: Caller, token: str) -> bytes:
    """Return the small JPEG of an upload. Raises Gone."""
    return service.uploads.get(caller.principal.name, token).preview


def row_json(instance: Instance) -> dict[str, Any]:
    """Return an image flat, under the names that a hit has."""
    row = asdict(instance)
    attributes, sidecar = row.pop("attributes"), row.pop("sidecar")
    return {**row, "flags": list(instance.flags), **attributes, **sidecar}


def _instance(gallery: OpenGallery, image_id: int) -> Instance:
    try:
        return gallery.view.gallery.instances([image_id])[0]
    except InvalidQuery:
        raise NotFound("there is no such image in this gallery; take an image_id from a hit") from None


def _picture(
    service: Service, gallery: OpenGallery, instance: Instance, frame: int | None, window: str | None
) -> Picture:
    source = service.file_of(instance.archive, instance.uri)
    chosen = None if window is None else parse_window(window)
    rendering = gallery.view.gallery.meta.spec.rendering
    return service.guard.read(source, rendering, instance.frame if frame is None else frame, chosen)


def _slices(gallery: OpenGallery, instance: Instance) -> Sequence[int]:
    series = instance.attributes.series
    if series is None:
        return [instance.image_id]
    opened = gallery.view.gallery
    where = filters.of_values({"series": series}, opened.columns(), opened.schema)
    found: np.ndarray = opened.select(where)
    if len(found) > MOST_SLICES:  # of a series so long nobody can move through all
        found = found[np.linspace(0, len(found) - 1, MOST_SLICES).astype(int)]
    return [one.image_id for one in sorted_slices(opened.instances(found))]
