"""What the pages of full pictures share: what their addresses name, viewers, what is told of an image."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import gradio as gr

from medsiglip_search.errors import DecoderUnavailable, InvalidQuery, Unreadable
from medsiglip_search.gallery_schema import OWN_COLUMNS
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.operations import pictures
from medsiglip_search.windows import CT_WINDOWS, Window
from ui.calls import caller_of
from ui.problems import told_problem
from ui.templates import html

COLUMNS = {
    "modality": "Modality",
    "body_part": "Body part",
    "laterality": "Side",
    "view_position": "View",
    "year": "Year",
    "patient": "Patient",
    "study": "Study",
    "series": "Series",
    "instance": "Instance",
    "position_mm": "Position (mm)",
    "manufacturer": "Manufacturer",
    "archive": "Archive",
    "uri": "File",
    "frame": "Frame",
}
"""The columns that are told of an image, and what people call them."""

IDENTIFIERS = frozenset({"patient", "study", "series", "instance"})
SHORT = 10
"""So many signs of an identifier tell it from others."""

REPORT = "report"
"""The sidecar column that is told in full, apart from the others."""

FLAGS = {
    "window_fallback": "its own window shows nothing, so one was fitted to its values",
    "burned_in_suspected": "text may be burned into the picture",
}

OWN = "The file's own"
HEADS = frozenset({"HEAD", "BRAIN", "SKULL", "HEADNECK"})
"""Body parts whose CT is read through the window for the brain."""

_NOT_TOLD = OWN_COLUMNS | {"picture"}


@dataclass(frozen=True, slots=True)
class Fact:
    """A column of an image in words. whole: where `text` is shortened."""

    name: str
    text: str
    whole: str = ""


@dataclass(frozen=True, slots=True)
class Viewed:
    """An image to be looked at.

    slices: the image and, within a file of several frames, the frame of each; start: where it is among them.
    depth: None where its file cannot be read.
    """

    image_id: int
    row: Mapping[str, Any]
    slices: Sequence[tuple[int, int | None]]
    start: int
    slice_word: str
    depth: pictures.Depth | None

    @property
    def title(self) -> str:
        """Its modality and body part, as far as they are known."""
        known = [str(self.row[one]) for one in ("modality", "body_part") if self.row.get(one)]
        return " ".join(known) or "Picture"

    @property
    def unit(self) -> str | None:
        """Of its values: "HU", or "" for those without a unit; None where it has no values."""
        if self.depth is None or self.depth.values is None:
            return None
        return self.depth.values.unit or ""


@dataclass(frozen=True, slots=True)
class Preset:
    """A window under its name. asked: as the API takes it."""

    name: str
    asked: str
    level: float
    width: float


@dataclass(frozen=True, slots=True)
class Controls:
    """What windows can be set for several pictures at once, in one unit ("HU" or "").

    first: the window to begin with; None for the encoder's own view.
    """

    unit: str
    low: float
    high: float
    step: float
    first: Preset | None
    presets: tuple[Preset, ...]

    @property
    def is_false(self) -> bool:
        """Whether the encoder sees false colours, one for each of its windows."""
        return self.unit == "HU"

    @property
    def shown(self) -> Preset:
        """What the sliders stand at."""
        return self.first or self.presets[0]


def gallery_of(service: Service, caller: Caller, request: gr.Request) -> str:
    """Return the gallery that an address names, the caller's only one where it names none.

    Raises InvalidQuery where there are several.
    """
    named = request.query_params.get("gallery", "")
    seen = caller.seen(service.galleries)
    if not named and len(seen) != 1:
        raise InvalidQuery("the address names no gallery; open the image from a hit of a search")
    return named or seen[0]


def image_ids(told: str) -> tuple[int, ...]:
    """Return the images of "ID,ID". Raises InvalidQuery unless these are whole numbers, each another one."""
    parts = [part.strip() for part in told.split(",") if part.strip()]
    if not parts:
        raise InvalidQuery("the address names no image; open one from a hit of a search")
    if not all(part.isascii() and part.isdecimal() and len(part) < 20 for part in parts):
        raise InvalidQuery("the address names an image that cannot be; images are known by whole numbers")
    ids = tuple(map(int, parts))
    if len(set(ids)) < len(ids):
        raise InvalidQuery("the address names the same image twice; name different ones")
    return ids


def address(path: str, gallery: str, token: str = "", **values: object) -> str:
    """Return the address of a page for a gallery. token: of the search that it leads back to."""
    search = {"s": token} if token else {}
    return f"{path}?{urlencode({'gallery': gallery, **values, **search}, safe=',')}"


def way_back(token: str) -> str:
    """Return the address of the search of this token, of a new one without."""
    return f"/?{urlencode({'s': token})}" if token else "/"


def images_of(gallery: str) -> str:
    """Return where the API has the images of a gallery."""
    return f"/v1/galleries/{quote(gallery, safe='')}/images"


def viewed(service: Service, caller: Caller, gallery: str, image_id: int) -> Viewed:
    """Return an image to be looked at. Raises NotFound, Unavailable."""
    facts = pictures.facts(service, caller, gallery, image_id)
    depth: pictures.Depth | None
    try:
        depth = pictures.values(service, caller, gallery, image_id)
    except (Unreadable, DecoderUnavailable):  # told where the picture would be, with its thumbnail
        depth = None
    if depth is not None and depth.frame_count > len(facts.slices):
        frames = [(image_id, frame) for frame in range(depth.frame_count)]
        return Viewed(image_id, facts.row, frames, int(facts.row.get("frame") or 0), "frame", depth)
    slices = [(one, None) for one in facts.slices]
    # Without a place in the body they are views, such as two radiographs of one series.
    word = "image" if facts.row.get("position_mm") is None else "slice"
    return Viewed(image_id, facts.row, slices, facts.slices.index(image_id), word, depth)


def viewers(gallery: str, shown: Sequence[Viewed], heat_text: str | None = None) -> str:
    """Return viewers side by side, with one set of controls.

    heat_text: what the heat map's box is filled with; None for no such box.
    """
    controls = controls_of(shown)
    unit = controls.unit if controls else None
    return html(
        "viewers.html",
        images=images_of(gallery),
        shown=shown,
        controls=controls,
        windowed=[unit is not None and one.unit == unit for one in shown],
        slices=max((one for one in shown), key=lambda one: len(one.slices)),
        heat_text=heat_text,
    )


def controls_of(shown: Sequence[Viewed]) -> Controls | None:
    """Return the windows for those pictures whose values share a unit, HU if any; None if none has values.

    CT begins as people read it: through the file's own window, or else one for soft tissue or the brain.
    """
    ranges = [one.depth.values for one in shown if one.depth is not None and one.depth.values is not None]
    if not ranges:
        return None
    unit = "HU" if any(one.unit == "HU" for one in ranges) else ""
    ranges = [one for one in ranges if (one.unit or "") == unit]
    low, high = min(one.low for one in ranges), max(one.high for one in ranges)
    step = 1.0 if high - low > 100 else (high - low) / 200 or 1.0
    own = ranges[0].window
    presets = [_preset(name.replace("_", " ").capitalize(), name, one) for name, one in CT_WINDOWS.items()]
    if unit != "HU":
        presets = [_preset("Whole range", "", Window(low, max(high, low + step)))]
    if len(ranges) == 1 and own.high > own.low:
        presets.insert(0, _preset(OWN, "", own))
    first = None
    if unit == "HU":
        has_own = presets[0].name == OWN and not any("window_fallback" in _flags(one) for one in shown)
        kind = "brain" if all(_is_head(one) for one in shown) else "soft_tissue"
        first = presets[0] if has_own else next(one for one in presets if one.asked == kind)
    return Controls(unit, low, high, step, first, tuple(presets))


def facts_of(row: Mapping[str, Any], without: Iterable[str] = ()) -> list[Fact]:
    """Return what is told of an image in words: its own columns, then the sidecar's but for the report.

    without: columns that are told elsewhere.
    """
    told = [Fact("Image", str(row["image_id"]))] if "image_id" in row else []
    for column, name in COLUMNS.items():
        cell = row.get(column)
        if cell is None:
            continue
        cell = cell + 1 if column == "frame" else cell  # counted from 1, as slices are
        text = f"{cell:g}" if isinstance(cell, float) else str(cell)
        if column in IDENTIFIERS and len(text) > SHORT:
            told.append(Fact(name, text[:SHORT] + "…", text))
        else:
            told.append(Fact(name, text))
    if row.get("rows") and row.get("columns"):
        told.append(Fact("Size", f"{row['columns']} by {row['rows']} pixels"))
    if row.get("flags"):
        told.append(Fact("Noted", "; ".join(FLAGS.get(one, one.replace("_", " ")) for one in row["flags"])))
    left_out = {*_NOT_TOLD, REPORT, *without}
    return told + [
        Fact(column.replace("_", " ").capitalize(), str(cell))
        for column, cell in row.items()
        if column not in left_out and cell not in (None, "")
    ]


def strip_image(gallery: str, image_id: int, other: dict[str, Any], token: str) -> dict[str, Any]:
    """Return what a strip of thumbnails shows of an image that can be compared with `image_id`.

    token: of the search that led there, "" without.
    """
    known = [str(other[column]) for column in ("modality", "body_part") if other.get(column)]
    return {
        "image_id": other["image_id"],
        "title": " ".join(known) or "Picture",
        "thumbnail": f"{images_of(gallery)}/{other['image_id']}/thumbnail",
        "case": address("/case", gallery, token, image=other["image_id"]),
        "compare": address("/compare", gallery, token, images=f"{image_id},{other['image_id']}"),
    }


def told_calmly(error: Exception, request: gr.Request, token: str = "") -> str:
    """Return what a page shows instead of an image, with the way back to the search of this token.

    Raises the error itself where nobody expected it: `handler` logs that.
    """
    problem = told_problem(error, caller_of(request).request_id, request.query_params.values())
    if problem.status == 500:
        raise error
    return html("problem.html", problem=problem, back=way_back(token))


def _flags(one: Viewed) -> Sequence[str]:
    return one.row.get("flags") or ()


def _is_head(one: Viewed) -> bool:
    return str(one.row.get("body_part") or "").upper() in HEADS


def _preset(name: str, asked: str, window: Window) -> Preset:
    level, width = (window.low + window.high) / 2, window.high - window.low
    return Preset(name, asked or f"{level:g},{width:g}", level, width)
