"""The first page: look for images, refine, and go on from a hit."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from medsiglip_search.errors import Gone, InvalidQuery
from medsiglip_search.service.asking import Asked, AskedImage, Link, Step, Upload
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from ui import frame, options
from ui.calls import caller_of, on
from ui.refining import refined
from ui.showing import Tab, asks, shown
from ui.templates import html, script
from ui.wording import words_of

MOST_STEPS = 6
"""So many searches before the one that is shown stand above it."""

GONE = (
    "The search of this address is no longer kept, or it is another user's. Begin a new one; addresses of "
    "searches hold for some hours, and for the person who made them."
)

NOTHING_ASKED = "There is nothing to look for: type words or add a picture."

Pictures = tuple[str, ...]
"""The tokens of what was uploaded to look for."""


def build(service: Service) -> None:
    """Add the page."""
    frame.header(service)
    tab = gr.State(None)
    uploads = gr.State(())
    with gr.Column(elem_classes="look-for"):
        with gr.Row(elem_classes="asking"):
            text = gr.Textbox(
                label="Look for",
                show_label=False,
                container=False,
                placeholder="Look for, such as: left pleural effusion",
                lines=1,
                max_lines=8,
                autofocus=True,
                scale=1,
            )
            go = gr.Button("Search", variant="primary", scale=0, min_width=110, elem_classes="go")
        previews = gr.HTML(
            _pictures(service, ()), js_on_load=script("problem.js", "pictures.js"), apply_default_css=False
        )
        with gr.Accordion("Options", open=False):
            # What there is to choose depends on who opens the page.
            gallery = gr.Dropdown([], label="Gallery", visible=False)
            parts = options.build()
    results = gr.HTML(
        html("waiting.html"), js_on_load=script("search.js"), apply_default_css=False, elem_id="results"
    )
    drawn = [tab, text, uploads, previews, gallery, *parts.components, results]

    def draw(caller: Caller, asked_tab: Tab, notice: str = "") -> list[Any]:
        """Return the values of `drawn`."""
        now, page = shown(service, caller, asked_tab, notice)
        asked = now.link.asked
        tokens = tuple(one.upload for one in asked.images)
        names = caller.seen(service.galleries)
        chosen = gr.update(choices=names, value=now.link.gallery, visible=len(names) > 1)
        pictures = _pictures(service, _uploaded(service, caller, tokens))
        return [now, asked.text or "", tokens, pictures, chosen, *parts.values_of(asked), page]

    def opened(request: gr.Request) -> list[Any]:
        """Show what the address says."""
        caller = caller_of(request)
        parameters: Mapping[str, str] = dict(request.query_params)
        try:
            values = draw(caller, _opened(service, caller, parameters))
            if parameters.keys() & {"s", "like"}:
                return values
            # Nothing is asked yet, but for what was typed and added while the page was loaded.
            own = {text, uploads, previews}
            return [gr.skip() if part in own else value for part, value in zip(drawn, values, strict=True)]
        except Gone:
            return draw(caller, _start(service, caller), GONE)

    def ask(request: gr.Request, now: Tab | None, text: str, uploads: Pictures, *values: Any) -> list[Any]:
        """Search for what is in the box."""
        caller = caller_of(request)
        now = now or _start(service, caller)
        images = tuple(AskedImage(one) for one in uploads)
        asked = replace(now.link.asked, text=text if text.strip() else None, images=images)
        asked = parts.asked(asked, values)
        found, *shown_parts, page = draw(caller, _next(now, asked), "" if asks(asked) else NOTHING_ASKED)
        pictures = _uploaded(service, caller, uploads)
        is_gone = any(picture is None for _, picture in pictures)
        # What was typed or added while it was looked for stays.
        kept = [gr.skip() for _ in shown_parts]
        kept[drawn.index(previews) - 1] = _pictures(service, pictures) if is_gone else gr.skip()
        return [found, *kept, page]

    def act(now: Tab | None, event: gr.EventData, request: gr.Request) -> list[Any]:
        """Do what was pressed below the box."""
        caller, value = caller_of(request), event._data["value"]
        now = now or _start(service, caller)
        try:
            return draw(caller, _acted(service, caller, now, value))
        except Gone:
            return draw(caller, _start(service, caller, now.link.gallery), GONE)

    def change_gallery(name: str, request: gr.Request) -> list[Any]:
        caller = caller_of(request)
        return draw(caller, _start(service, caller, name))

    def change_pictures(uploads: Pictures, event: gr.EventData, request: gr.Request) -> tuple[Pictures, str]:
        tokens = _changed(uploads, event._data["value"])
        return tokens, _pictures(service, _uploaded(service, caller_of(request), tokens))

    busy = {"show_progress": "minimal", "show_progress_on": results}
    asking = [tab, text, uploads, *parts.components]
    on(None, opened, None, drawn, **busy)
    on([text.submit, go.click], ask, asking, drawn, **busy)
    on(results.select, act, tab, drawn, **busy)
    on(gallery.input, change_gallery, gallery, drawn, **busy)
    on(previews.select, change_pictures, uploads, [uploads, previews], **busy)


def _start(service: Service, caller: Caller, gallery: str | None = None) -> Tab:
    """Return a tab in which nothing is asked yet."""
    seen = caller.seen(service.galleries)
    return Tab(Link(gallery or next(iter(seen), ""), Asked()))


def _opened(service: Service, caller: Caller, parameters: Mapping[str, str]) -> Tab:
    """Return the search that an address leads to. Raises Gone."""
    if "s" in parameters:
        return _gone_to(service, caller, parameters["s"])
    tab = _start(service, caller, parameters.get("gallery"))
    like = parameters.get("like", "")
    return Tab(replace(tab.link, asked=Asked(like=(int(like),)))) if like.isdecimal() else tab


def _gone_to(service: Service, caller: Caller, token: str) -> Tab:
    return Tab(service.links.get(caller.principal.owner, token), token)


def _acted(service: Service, caller: Caller, tab: Tab, act: Mapping[str, Any]) -> Tab:
    """Return what is to be shown after a button was pressed. Raises Gone, InvalidQuery."""
    link = tab.link
    match act.get("do"):
        case "go":
            token = str(act.get("value") or "")
            return _gone_to(service, caller, token) if token else _start(service, caller, link.gallery)
        case "next" if tab.cursor is not None:
            return Tab(replace(link, cursors=(*link.cursors, tab.cursor)))
        case "next":
            raise InvalidQuery("there is no next page; search again")
        case "previous":
            return Tab(replace(link, cursors=link.cursors[:-1]))
        case "first":
            return Tab(replace(link, cursors=()))
    return _next(tab, refined(link.asked, act))


def _next(tab: Tab, asked: Asked) -> Tab:
    """Return the first page of a question; a new one is a step away from what was shown."""
    link, words = tab.link, words_of(tab.link.asked)
    trail = link.trail
    if tab.token and link.asked.is_question and words != words_of(asked):
        trail = (*trail, Step(words, tab.token))[-MOST_STEPS:]
    return Tab(Link(link.gallery, asked, trail))


def _changed(uploads: Pictures, act: Mapping[str, Any]) -> Pictures:
    """Return the pictures after some were added or one was taken away."""
    value = act.get("value")
    if act.get("do") == "remove-picture":
        return tuple(token for token in uploads if token != value)
    added = [str(token) for token in value] if isinstance(value, list) else []
    return tuple(dict.fromkeys((*uploads, *added)))


def _uploaded(service: Service, caller: Caller, tokens: Pictures) -> list[tuple[str, Upload | None]]:
    """Return the pictures of tokens, None for one that is no longer kept."""
    pictures: list[tuple[str, Upload | None]] = []
    for token in tokens:
        try:
            pictures.append((token, service.uploads.get(caller.principal.owner, token)))
        except Gone:
            pictures.append((token, None))
    return pictures


def _pictures(service: Service, pictures: Sequence[tuple[str, Upload | None]]) -> str:
    return html("pictures.html", pictures=pictures, most=service.settings.limits.uploads)
