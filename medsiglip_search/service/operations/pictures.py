"""Pictures: thumbnails, the full picture through a window, where it answers a text; uploads to ask with."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medsiglip_search import filters
from medsiglip_search.errors import InvalidQuery, NotFound, TooLarge
from medsiglip_search.explain.heatmap import Heatmap, heatmap
from medsiglip_search.images import read_values, sampled_frames
from medsiglip_search.images.thumbnail import thumbnail as small_jpeg
from medsiglip_search.records import Instance, Picture
from medsiglip_search.service.asking import Upload
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.galleries import OpenGallery
from medsiglip_search.service.operations.searching import told
from medsiglip_search.volumes import sorted_slices
from medsiglip_search.windows import RenderSpec, ValueRange, parse_window

MOST_SLICES = 2_000


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is told of an image.

    row: its columns, without what is hidden. slices: the image_ids of its series, in their order; its own
    alone where it is of none.
    """

    row: dict[str, Any]
    slices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Depth:
    """What a file has beyond one picture.

    values: of the image's frame; None where no window fits, as of colours.
    """

    frame_count: int
    values: ValueRange | None


def thumbnail(service: Service, caller: Caller, name: str, image_id: int) -> bytes:
    """Return the small JPEG of an image; b"" if it has none. Raises NotFound, Unavailable."""
    with service.audit.watch(caller, "thumbnail", name) as entry:
        entry.subjects = [str(image_id)]
        gallery = service.gallery(caller, name)
        try:
            return gallery.view.gallery.thumbnails([image_id])[0]
        except InvalidQuery:
            raise NotFound("there is no such image in this gallery; take an image_id from a hit") from None


def facts(service: Service, caller: Caller, name: str, image_id: int) -> ImageFacts:
    """Return what is told of an image. Raises NotFound, Unavailable."""
    with service.audit.watch(caller, "metadata", name) as entry:
        entry.subjects = [str(image_id)]
        gallery = service.gallery(caller, name)
        instance = instance_of(gallery, image_id)
        return ImageFacts(told(service, gallery, row_json(instance)), tuple(_slices(gallery, instance)))


def study(service: Service, caller: Caller, name: str, image_id: int, most: int) -> list[dict[str, Any]]:
    """Return what is told of the other images of an image's study, in their order.

    most: so many of them, evenly spread. Raises NotFound, Unavailable.
    """
    with service.audit.watch(caller, "metadata", name) as entry:
        gallery = service.gallery(caller, name)
        instance = instance_of(gallery, image_id)
        others = [one for one in _others_of_study(gallery, instance) if one.image_id != image_id]
        shown = [others[place] for place in sampled_frames(len(others), most)]
        entry.subjects = [str(image_id), *(str(one.image_id) for one in shown)]
        return [told(service, gallery, row_json(one)) for one in shown]


def values(service: Service, caller: Caller, name: str, image_id: int) -> Depth:
    """Return what an image's file lets be chosen: frames, and a window. Raises as `picture`."""
    with service.audit.watch(caller, "metadata", name) as entry:
        entry.subjects = [str(image_id)]
        gallery = service.gallery(caller, name)
        instance = instance_of(gallery, image_id)
        source = service.file_of(instance.archive, instance.uri)
        rendering = gallery.view.gallery.meta.spec.rendering
        [(frame_count, found)] = service.guard.run(read_values, source, rendering, instance.frame)
        return Depth(frame_count, found)


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
        return _picture(service, gallery, instance_of(gallery, image_id), frame, window)


def heat(
    service: Service, caller: Caller, name: str, image_id: int, text: str, frame: int | None = None
) -> tuple[Picture, Heatmap]:
    """Return an image, and which places of it answer `text`.

    frame: of its file; the image's own by default. Raises as `picture`, InvalidQuery for an empty text,
    TooLarge, ExplainerUnavailable for an encoder without patches.
    """
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
        shown = _picture(service, gallery, instance_of(gallery, image_id), frame, None)
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
            hashlib.sha256(content).hexdigest(),
            small_jpeg(shown.pixels),
            shown.attributes.modality,
            rows,
            columns,
            shown.frame_count,
        )
        return service.uploads.keep(caller.principal.owner, kept, len(content)), kept


def preview(service: Service, caller: Caller, token: str) -> bytes:
    """Return the small JPEG of an upload. Raises Gone."""
    with service.audit.watch(caller, "thumbnail") as entry:
        entry.details["upload"] = True
        return service.uploads.get(caller.principal.owner, token).preview


def row_json(instance: Instance) -> dict[str, Any]:
    """Return an image flat, under the names that a hit has."""
    row = asdict(instance)
    attributes, sidecar = row.pop("attributes"), row.pop("sidecar")
    return {**row, "flags": list(instance.flags), **attributes, **sidecar}


def instance_of(gallery: OpenGallery, image_id: int) -> Instance:
    """Return an image of a gallery. Raises NotFound, Unavailable."""
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


def _others_of_study(gallery: OpenGallery, instance: Instance) -> list[Instance]:
    """Return the images of its study by series and place, itself among them; none of an unknown study."""
    if instance.attributes.study is None:
        return []
    opened = gallery.view.gallery
    where = filters.of_values({"study": instance.attributes.study}, opened.columns(), opened.schema)
    found = sorted_slices(opened.instances(opened.select(where)[:MOST_SLICES]))
    return sorted(found, key=lambda one: one.attributes.series or "")


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
