"""Pieces of pages as HTML, from templates in which whatever comes from a file is text and never markup."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent


def html(template: str, **values: Any) -> str:
    """Return a template of `ui/templates/`, such as "hits.html", filled in."""
    return _environment().get_template(template).render(**values)


def script(*names: str) -> str:
    """Return scripts of `ui/files/`, such as "hits.js", as one: what `gr.HTML` runs when it is loaded."""
    return "\n".join((FOLDER / "files" / name).read_text("utf-8") for name in names)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
