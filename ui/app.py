"""The browser pages, added to the service: one Gradio application, a page in each module."""

import warnings
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

import gradio as gr
from fastapi import FastAPI
from starlette.responses import Response

from medsiglip_search.service.core import Service
from medsiglip_search.service.paths import HEARTBEAT
from ui import case, compare, explain, jobs, label, map, search

FILES = Path(__file__).parent / "files"

PAGES: tuple[tuple[str, str, ModuleType], ...] = (
    ("Search", "/", search),
    ("Case", "/case", case),
    ("Compare", "/compare", compare),
    ("Label", "/label", label),
    ("Jobs", "/jobs", jobs),
    ("Explain", "/explain", explain),
    ("Map", "/map", map),
)
"""Name, path and module of each page; the first one is where people come in."""

PATHS = tuple(path for _, path, _ in PAGES)

MOST_TABS = 4_000
"""So many tabs of all users have their state kept, 0.25 MB each; that which was used the longest ago goes."""


def mount_pages(app: FastAPI, service: Service) -> Collection[str]:
    """Add the pages to an application, and return their paths."""
    (_, _, first), *others = PAGES
    app.add_api_route(HEARTBEAT + "{tab}", _heartbeat, include_in_schema=False)
    with gr.Blocks(title="medsiglip-search", analytics_enabled=False, fill_width=True) as blocks:
        first.build(service)
    for name, path, module in others:
        with blocks.route(name, path, show_in_navbar=False):  # the pages have a bar of their own
            module.build(service)
    blocks.state_session_capacity = MOST_TABS
    with warnings.catch_warnings():
        # Said of several pages, whatever is asked for.
        warnings.filterwarnings("ignore", "SSR mode is not supported", UserWarning)
        gr.mount_gradio_app(
            app,
            blocks,
            path="/",
            # No file leaves the server by Gradio: pictures come from the API, which asks who looks at them.
            allowed_paths=[],
            blocked_paths=["/"],
            footer_links=[],
            run_history=False,
            show_error=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            # The browser's own fonts: Gradio's default ones come from another site.
            theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
            css_paths=[
                FILES / "pages.css",
                FILES / "search.css",
                FILES / "viewer.css",
                FILES / "label.css",
                FILES / "jobs.css",
                FILES / "explain.css",
                FILES / "map.css",
            ],
        )
    return PATHS


def _heartbeat(tab: str) -> Response:
    """Let go of the connection that Gradio would keep for each tab: a browser has six for a service."""
    return Response(media_type="text/event-stream")
