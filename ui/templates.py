"""Pieces of pages as HTML, from templates in which whatever comes from a file is text and never markup."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent


def html(template: str, **values: Any) -> str:
    """Return a template of `ui/templates/`, such as "hits.html", filled in."""
    return _environment().get_template(template).render(**values)


def script(name: str) -> str:
    """Return a script of `ui/files/`, such as "hits.js": what `gr.HTML` runs when it is loaded."""
    return (FOLDER / "files" / name).read_text("utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
