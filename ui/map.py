"""Map: a gallery in two dimensions, alike images near each other, to look around and to choose from."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import gradio as gr
import numpy as np

from medsiglip_search.service.callers import Caller
from medsiglip_search.service.colouring import LAST_STEP, NOTHING, OTHER, Colouring
from medsiglip_search.service.core import Service
from medsiglip_search.service.mapping import Area, Method, has_umap
from medsiglip_search.service.operations import mapping
from medsiglip_search.service.operations.mapping import Mapped
from ui.calls import caller_of, on
from ui.frame import header
from ui.templates import html, script
from ui.wording import title, told

PREFERRED = ("modality", "body_part")
"""A map begins with the first of these columns that there is."""

METHODS = [("PCA", "pca"), ("UMAP", "umap")]

# Twelve colours that people with any kind of colour vision tell apart (Krzywinski, 12-colour palette).
WORDS = (
    "#008DF9", "#E20134", "#009F81", "#FFC33B", "#8400CD", "#FF6E3A",
    "#00C2F9", "#9F0162", "#00FCCF", "#FF5AAF", "#A40122", "#FFB2FD",
)  # fmt: skip
GREY, PALE = "#8A8F98", "#B9BEC6"

# Viridis, at five of its steps.
RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))

LOOK_AGAIN_S = 4
"""How often it is seen whether UMAP is done."""

STEPS = 65_535
"""Places are sent as whole numbers up to this."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is chosen on a map. points: of an area; None for the whole map. without: codes of the legend."""

    gallery: str
    method: Method
    colour: str | None
    points: tuple[tuple[float, float], ...] | None = None
    without: tuple[int, ...] = ()

    def image_ids(self, service: Service, caller: Caller) -> np.ndarray:
        """Return the images in it. Raises as `mapping.selected`."""
        area = None if self.points is None else Area(self.points)
        return mapping.selected(service, caller, self.gallery, area, self.method, self.colour, self.without)


def build(service: Service) -> None:
    """Add the page: `/map`, or `/map?gallery=NAME`."""
    header(service)
    chosen = gr.State(None)
    gr.HTML("<h1>Map</h1>", elem_classes="map-title", apply_default_css=False)
    with gr.Row(elem_classes="map-choice"):
        gallery = gr.Dropdown([], label="Gallery", visible=False)
        colour = gr.Dropdown([], label="Coloured by", interactive=True)
        method = gr.Radio(METHODS, value="pca", label="Arranged by", visible=has_umap())
        count = gr.HTML(
            html("map_chosen.html", count=None), apply_default_css=False, elem_classes="map-count"
        )
        go = gr.Button("Search in these", variant="primary", size="md", scale=0, min_width=260, visible=False)
    progress = gr.HTML(html("map_waiting.html"), apply_default_css=False)
    drawing = gr.HTML(js_on_load=script("map.js"), apply_default_css=False)
    with gr.Accordion("Choose by numbers", open=False), gr.Row():
        edges = [
            gr.Number(value, label=label, interactive=True)
            for label, value in (("x from", 0), ("x to", 100), ("y from", 0), ("y to", 100))
        ]
        choose = gr.Button("Choose what lies between", size="md", scale=0, min_width=240)
    without_umap = gr.HTML(apply_default_css=False, visible=not has_umap())
    place = gr.Textbox(visible="hidden", label="Where to go")
    later = gr.Timer(LOOK_AGAIN_S, active=False)

    def show(gallery: str, colour: str | None, method: str, request: gr.Request) -> tuple[Any, ...]:
        caller = caller_of(request)
        columns = mapping.colours(service, caller, gallery)
        colour = colour if colour in columns else next((one for one in PREFERRED if one in columns), None)
        shown = mapping.mapped(service, caller, gallery, colour, cast(Method, method))
        choices = [(title(one), one) for one in columns]
        return (
            gr.update(choices=choices, value=colour),
            html("map_progress.html", progress=shown.progress),
            _drawing(gallery, shown),
            gr.update(active=bool(shown.progress) and not shown.progress.startswith("failed")),
            None,
            html("map_chosen.html", count=None),
            gr.update(visible=False),
        )

    def begin(request: gr.Request) -> tuple[Any, ...]:
        names = caller_of(request).seen(service.galleries)
        asked = request.query_params.get("gallery", "")
        gallery = asked if asked in names else next(iter(names), asked)
        note = html("map_umap.html", is_admin=caller_of(request).principal.may("admin"))
        chosen = gr.update(choices=names, value=gallery, visible=len(names) > 1)
        return chosen, note, *show(gallery, None, "pca", request)

    def change(gallery: str, colour: str | None, method: str, request: gr.Request) -> tuple[Any, ...]:
        return show(gallery, colour, method, request)

    def look_again(gallery: str, colour: str | None, method: str, request: gr.Request) -> tuple[Any, ...]:
        shown = mapping.mapped(service, caller_of(request), gallery, colour, cast(Method, method))
        if not shown.progress:
            return show(gallery, colour, method, request)
        # What is drawn stays, with what is chosen on it.
        skipped = gr.skip()
        again = gr.update(active=not shown.progress.startswith("failed"))
        return skipped, html("map_progress.html", progress=shown.progress), skipped, again, *[skipped] * 3

    def chosen_now(now: Chosen, request: gr.Request) -> tuple[Any, ...]:
        number = len(now.image_ids(service, caller_of(request)))
        words = f"Search in {'this 1 image' if number == 1 else f'these {number:,} images'}"
        can_search = 0 < number <= mapping.MOST_SELECTED
        return (
            now,
            html("map_chosen.html", count=number, most=mapping.MOST_SELECTED),
            gr.update(value=words, visible=can_search),
        )

    def select(
        gallery: str, colour: str | None, method: str, event: gr.EventData, request: gr.Request
    ) -> tuple[Any, ...]:
        value = event._data["value"]
        if value["points"] is None and not value["without"]:
            return None, html("map_chosen.html", count=None), gr.update(visible=False)
        points = None if value["points"] is None else _points(value["points"])
        without = tuple(int(code) for code in value["without"])
        return chosen_now(Chosen(gallery, cast(Method, method), colour, points, without), request)

    def between(
        gallery: str,
        colour: str | None,
        method: str,
        x0: float,
        x1: float,
        y0: float,
        y1: float,
        request: gr.Request,
    ) -> tuple[Any, ...]:
        corners = ((x0 or 0) / 100, (y0 or 0) / 100), ((x1 or 0) / 100, (y1 or 0) / 100)
        return chosen_now(Chosen(gallery, cast(Method, method), colour, corners), request)

    def search(now: Chosen | None, request: gr.Request) -> str:
        if now is None:
            return ""
        caller = caller_of(request)
        return "/?s=" + mapping.search_in(service, caller, now.gallery, now.image_ids(service, caller))

    of_map = [gallery, colour, method]
    shown = [colour, progress, drawing, later, chosen, count, go]
    on(None, begin, None, [gallery, without_umap, *shown])
    on([gallery.input, colour.input, method.input], change, of_map, shown)
    on(later.tick, look_again, of_map, shown)
    on(drawing.select, select, of_map, [chosen, count, go])
    on(choose.click, between, [*of_map, *edges], [chosen, count, go])
    on(go.click, search, chosen, place).success(
        None, place, None, js="(place) => { if (place) location.assign(place); }", api_visibility="private"
    )


def _points(points: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in points)


def _drawing(gallery: str, shown: Mapped) -> str:
    projection, rows, colouring = shown.projection, shown.rows, shown.colouring
    legend = [
        replace(entry, label=told(None)) if entry.code == NOTHING else entry
        for entry in (() if colouring is None else colouring.legend)
    ]
    return html(
        "map.html",
        gallery=gallery,
        points=packed(projection.image_ids[rows], projection.unit()[rows], _codes(colouring, rows)),
        drawn=len(rows),
        images=len(projection.image_ids),
        method={value: name for name, value in METHODS}[projection.method],
        colours=_colours(colouring),
        colour=None if colouring is None else title(colouring.column),
        labels={entry.code: entry.label for entry in legend},
        legend=legend,
        ramp=None if colouring is None else colouring.ramp,
        gradient=", ".join(f"rgb{step}" for step in RAMP),
    )


def packed(image_ids: np.ndarray, places: np.ndarray, codes: np.ndarray) -> str:
    """Return points for `map.js` in base64: all image_ids as uint32, then x, y as uint16, codes as uint8.

    places: (N, 2) from 0 to 1.
    """
    x, y = np.round(places * STEPS).astype("<u2").T if len(places) else np.empty((2, 0), "<u2")
    parts = image_ids.astype("<u4").tobytes(), x.tobytes(), y.tobytes(), codes.astype(np.uint8).tobytes()
    return base64.b64encode(b"".join(parts)).decode()


def _codes(colouring: Colouring | None, rows: np.ndarray) -> np.ndarray:
    return np.zeros(len(rows), np.uint8) if colouring is None else colouring.codes[rows]


def _colours(colouring: Colouring | None) -> dict[int, str]:
    """Return the colour of each code."""
    ends = {OTHER: GREY, NOTHING: PALE}
    if colouring is None or colouring.ramp is None:
        return {**dict(enumerate(WORDS)), **ends}
    at = np.linspace(0, 1, len(RAMP))
    steps = np.linspace(0, 1, LAST_STEP + 1)
    channels = [np.interp(steps, at, [step[channel] for step in RAMP]).astype(int) for channel in range(3)]
    return {
        **{code: f"rgb({r},{g},{b})" for code, (r, g, b) in enumerate(zip(*channels, strict=True))},
        **ends,
    }
