"""Everybody can use the pages: axe finds nothing serious, in light and in dark, wide and narrow."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from serving import Served

from ui.app import PATHS

WITH_CONTENT = {
    "/": ("/?gallery=demo&like=1", "img[src*='/thumbnail']"),
    "/case": ("/case?gallery=demo&image=1", "img.viewer-picture[src]"),
    "/compare": ("/compare?gallery=demo&images=1,2", "img.viewer-picture[src]"),
    "/explain": ("/explain?gallery=demo", "main input, main textarea"),
    "/label": ("/label?gallery=demo", "textarea, table"),
    "/map": ("/map?gallery=demo", "canvas"),
    "/jobs": ("/jobs", "button"),
}
"""Each page's path, where there is something to see on it, and what."""


def test_all_pages_are_looked_at() -> None:
    assert set(WITH_CONTENT) == set(PATHS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", sorted(WITH_CONTENT))
def test_axe_finds_nothing_serious(
    served: Served, browser: Browser, path: str, scheme: str, artefacts: Path
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(20_000)
    address, sight = WITH_CONTENT[path]
    page.goto(f"{served.url}{address}")
    page.locator(sight).first.wait_for()
    settled(page)
    name = path.strip("/") or "search"
    page.screenshot(path=artefacts / f"{name}-1440-{scheme}.png")
    wide = serious(page)
    page.set_viewport_size({"width": 800, "height": 900})
    settled(page)
    page.screenshot(path=artefacts / f"{name}-800-{scheme}.png")
    narrow = serious(page)
    is_wider = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    unnamed = page.evaluate(UNNAMED)
    context.close()
    assert (wide, narrow) == ([], [])
    assert not is_wider, "it must be scrolled sideways at 800 px"
    assert unnamed == []


UNNAMED = """
[...document.querySelectorAll('button, a[href], input:not([type=hidden]), select, textarea')]
  .filter(one => one.checkVisibility())
  .filter(one => !(one.innerText?.trim() || one.getAttribute('aria-label') || one.title || one.labels?.length
    || one.getAttribute('aria-labelledby') || one.querySelector('img[alt]:not([alt=""])')))
  .map(one => one.outerHTML.slice(0, 200))
"""


def settled(page: Page) -> None:
    """Wait until no answer is waited for, and pictures that are in sight are drawn."""
    page.wait_for_function("!document.querySelector('.progress-text, .eta-bar, [aria-busy=true]')")
    page.wait_for_function(
        "[...document.images].filter(one => one.loading !== 'lazy').every(one => one.complete)"
    )


def serious(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {re.sub(' +', ' ', node['html'])[:200]} {node.get('failureSummary', '')[:300]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
