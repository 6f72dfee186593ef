"""Which addresses there are, and which need no credentials: all that is not written here is refused."""

from collections.abc import Collection

BACK = "/gradio_api/app_id"
"""A number, new at each start: what a page that lost the service asks for, to load itself when it is back."""

OPEN = frozenset({"/healthz", "/readyz", "/login", "/login/oidc", "/login/oidc/callback", BACK})
"""What answers without credentials: whether the service is alive, and the ways to sign in."""

OWN = frozenset({"/logout", "/metrics", "/v1", "/openapi.json"})
"""Addresses of the service itself beside those under /v1/."""

FILES = ("/assets/", "/static/", "/theme.css", "/favicon.ico", "/pages/")
"""What pages are made of; how often these are asked for says nothing of a user."""

RUN, JOIN, CANCEL = "/gradio_api/run/predict", "/gradio_api/queue/join", "/gradio_api/cancel"
LISTEN, HEARTBEAT = "/gradio_api/queue/data", "/gradio_api/heartbeat/"

PAGE_CALLS = (
    "/config",
    RUN,
    JOIN,
    CANCEL,
    LISTEN,
    "/gradio_api/startup-events",
    "/gradio_api/theme.css",
)
"""What pages call of Gradio; its uploads, files, proxies, monitoring and named calls are not there."""


def is_endless(path: str) -> bool:
    """Tell whether an answer goes on for as long as somebody listens."""
    return path.startswith("/v1/jobs/") and path.endswith("/events")


def takes_files(path: str) -> bool:
    """Tell whether requests to a path send files."""
    return path == "/v1/uploads" or (path.startswith("/v1/galleries/") and path.endswith("/evaluations"))


def is_page_call(path: str) -> bool:
    """Tell whether a path is what pages ask of their library."""
    return path in PAGE_CALLS


def is_open(path: str) -> bool:
    """Tell whether a path needs no credentials."""
    return path in OPEN


def is_files(path: str) -> bool:
    """Tell whether a path is of a file that pages are made of."""
    return path.startswith(FILES)


def is_page(path: str, pages: Collection[str]) -> bool:
    """Tell whether a path is a page's, or would be the address of one: a person may have typed it."""
    return path in pages


def is_served(path: str, pages: Collection[str]) -> bool:
    """Tell whether there is anything at a path for those who have shown who they are."""
    return (
        path in OWN
        or is_page_call(path)
        or path.startswith(("/v1/", HEARTBEAT))
        or is_files(path)
        or is_page(path.rstrip("/") or "/", pages)
    )
