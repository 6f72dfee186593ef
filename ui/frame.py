"""The bar at the top of every page: where one can go, who is signed in, and the way out."""

import gradio as gr
from gradio.context import Context

from medsiglip_search.service.core import Service
from ui.calls import caller_of, on
from ui.templates import html, script

PAGES = (("Search", "/"), ("Map", "/map"), ("Label", "/label"), ("Jobs", "/jobs"))
"""The pages that can be begun with; the others are reached from a hit."""


def header(service: Service) -> None:
    """Add the bar to the page that is being built."""
    blocks = Context.root_block
    assert blocks is not None, "a page is built inside of Blocks"
    here = "/" + blocks.current_page
    bar = gr.HTML(_bar(service, here, {here}, None), js_on_load=script("frame.js"), apply_default_css=False)

    def show(request: gr.Request) -> str:
        there = {"/" + path for path, *_ in blocks.pages}
        return _bar(service, here, there, request)

    on(None, show, None, bar)


def _bar(service: Service, here: str, there: set[str], request: gr.Request | None) -> str:
    caller = None if request is None else caller_of(request)
    seen = [] if caller is None else caller.seen(service.galleries)
    return html(
        "top_bar.html",
        pages=[(name, path, path == here) for name, path in PAGES if path in there],
        gallery=seen[0] if len(seen) == 1 else "",
        who=None if caller is None else caller.principal,
        can_sign_out=not service.access.settings.is_open,
    )
