"""The page on which people sign in: plain HTML, so that nothing of the pages need be served before."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template

from medsiglip_search.service.access.authenticating import Access


def page(access: Access, problem: str = "", next_place: str = "/") -> bytes:
    """Return the page as HTML. problem: why the last try did not do. next_place: where to go then."""
    settings = access.settings
    return (
        _template()
        .render(has_keys=settings.keys, has_oidc=settings.oidc is not None, problem=problem, next=next_place)
        .encode()
    )


def place_here(place: str) -> str:
    """Return a place to go to if it is on this site, else the first page: a form can say anything."""
    is_here = place.startswith("/") and not place.startswith(("//", "/\\")) and place.isprintable()
    return place if is_here else "/"


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True).get_template("login.html")
