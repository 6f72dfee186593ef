"""Case: one image at its full size, what is known of it, its labels, and where it answers a text."""

from typing import Any
from urllib.parse import urlencode

import gradio as gr

from medsiglip_search.errors import Gone, InvalidQuery
from medsiglip_search.labels.shipped import shipped_names
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.operations import image_labels, pictures
from ui.calls import caller_of, on
from ui.frame import header
from ui.templates import html, script
from ui.viewer import (
    REPORT,
    Viewed,
    address,
    facts_of,
    gallery_of,
    image_ids,
    strip_image,
    told_calmly,
    viewed,
    viewers,
    way_back,
)

MOST_OTHERS = 24
MOST_BARS = 12


def build(service: Service) -> None:
    """Add the page: `/case?gallery=NAME&image=ID`, with `s=TOKEN` where it was opened from a search."""
    header(service)
    head = gr.HTML(apply_default_css=False)
    with gr.Row():
        with gr.Column(scale=3, min_width=480):
            picture = gr.HTML(js_on_load=script("problem.js", "viewer.js"), apply_default_css=False)
        with gr.Column(scale=2, min_width=340):
            facts = gr.HTML(apply_default_css=False)
            label_set = gr.Dropdown(
                list(shipped_names()),
                value=None,
                label="Scores of a label set",
                visible=False,
                interactive=True,
            )
            bars = gr.HTML(apply_default_css=False)

    def show(request: gr.Request) -> tuple[Any, ...]:
        caller = caller_of(request)
        token = request.query_params.get("s", "")
        try:
            gallery = gallery_of(service, caller, request)
            one = viewed(service, caller, gallery, _image_id(request))
            told = _facts(service, caller, gallery, one, token)
        except Exception as error:
            return told_calmly(error, request, token), "", "", gr.update(visible=False)
        return (
            _head(gallery, one, token),
            viewers(gallery, [one], _text(service, caller, token)),
            told,
            gr.update(visible=True),
        )

    def score(chosen: str | None, request: gr.Request) -> str:
        if not chosen:
            return ""
        caller = caller_of(request)
        gallery = gallery_of(service, caller, request)
        told = image_labels.labels_of(service, caller, gallery, _image_id(request), chosen)
        return html("label_bars.html", told=told, most=MOST_BARS)

    on(None, show, None, [head, picture, facts, label_set])
    on(label_set.input, score, label_set, bars)


def _image_id(request: gr.Request) -> int:
    ids = image_ids(request.query_params.get("image", ""))
    if len(ids) > 1:
        raise InvalidQuery("the address names several images; Case shows one, Compare several")
    return ids[0]


def _text(service: Service, caller: Caller, token: str) -> str:
    """Return what was looked for when the image was found; nothing where that is not known any more."""
    try:
        return service.links.get(caller.principal.owner, token).asked.text or "" if token else ""
    except Gone:
        return ""


def _head(gallery: str, one: Viewed, token: str) -> str:
    links = {
        "similar": address("/", gallery, like=one.image_id),
        # Without a search it is told why others are similar to it.
        "explain": f"/explain?{urlencode({'s': token, 'hit': one.image_id})}"
        if token
        else address("/explain", gallery, like=one.image_id),
        "compare": address("/compare", gallery, token, images=one.image_id),
    }
    words = "Back to the search" if token else "Search"
    return html("case_head.html", one=one, links=links, back=way_back(token), back_words=words)


def _facts(service: Service, caller: Caller, gallery: str, one: Viewed, token: str) -> str:
    decided = image_labels.decided(service, caller, gallery, one.image_id)
    others = pictures.study(service, caller, gallery, one.image_id, MOST_OTHERS)
    return html(
        "case_facts.html",
        facts=facts_of(one.row, without=[each.column for each in decided]),
        report=one.row.get(REPORT),
        decided=decided,
        others=[strip_image(gallery, one.image_id, row, token) for row in others],
    )
