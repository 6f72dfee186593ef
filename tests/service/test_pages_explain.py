"""The page that explains, in a real browser, with a model that is slow, and one that is not there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_servers import Server, unused_url
from faulty_servers import serving as serving_model
from playwright.sync_api import Browser, Locator, Page, expect
from serving import Served, serving
from slow_models import talking
from viewing import at_rest

from medsiglip_search.explain.opening import Access
from medsiglip_search.service.access.authenticating import LOCAL
from medsiglip_search.service.asking import Asked, Link

ASKED = "left pleural effusion"
WAIT_MS = 60_000


@pytest.fixture
def model() -> Iterator[Server]:
    with serving_model(talking) as server:
        yield server


@pytest.fixture
def slow(model: Server, demo_gallery: Path, tmp_path: Path) -> Iterator[Served]:
    with explained_by(model.url, demo_gallery, tmp_path) as served:
        yield served


def explained_by(url: str, gallery: Path, folder: Path):
    return serving(
        {"demo": gallery},
        folder / "state",
        archives={"scans": str(gallery.parent / "archive")},
        explainer=url,
        explainer_access=Access(model="m", is_cached=False),
    )


def link_of(served: Served, **asked: object) -> str:
    """Return the address that explains a search of the one user."""
    link = Link("demo", Asked(text=ASKED, **asked))
    return f"{served.url}/explain?s={served.service.links.keep(LOCAL.owner, link)}"


def state(page: Page) -> Locator:
    return page.locator(".explain-state [role=status]")


def test_stop_ends_the_model_and_keeps_what_was_said(
    slow: Served, model: Server, page: Page, artefacts: Path
):
    page.goto(link_of(slow))
    said = page.locator(".said .text").first
    expect(said).to_contain_text("No effusion.", timeout=WAIT_MS)
    expect(page.locator(".explanation img")).to_have_count(0)
    expect(page.locator(".explained img")).to_have_count(3)
    expect(state(page)).to_have_text("Speaking of hit 1 …")
    page.get_by_role("button", name="Stop").press("Enter")
    expect(state(page)).to_have_text("Stopped. What was said until then is kept.")
    assert model.requests[-1].saw_close.wait(30)
    expect(said).to_contain_text("No effusion.")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)

    sections = page.locator(".explanation > *")
    expect(sections.first).to_have_class("warnings")
    warnings = page.locator(".warnings li")
    expect(page.locator(".warnings h2")).to_have_text(f"{warnings.count()} warnings")
    warnings.get_by_role("link", name="Hit 1").first.click()
    expect(page.locator("#hit-1")).to_be_focused()
    expect(page.locator(".provenance")).to_contain_text("cancelled")
    expect(page.locator(".provenance")).to_contain_text("not a medical device")
    expect(page.locator("tbody tr", has_text=ASKED)).to_contain_text("hit 1, hit 2")
    page.screenshot(path=artefacts / "explain-1440.png", full_page=True)
    page.set_viewport_size({"width": 800, "height": 900})
    page.screenshot(path=artefacts / "explain-800.png", full_page=True)


def test_who_leaves_stops_the_model_and_who_waits_is_told(slow: Served, model: Server, browser: Browser):
    first, second = (browser.new_context().new_page() for _ in range(2))
    first.goto(link_of(slow))
    expect(first.locator(".said .text").first).to_be_visible(timeout=WAIT_MS)
    second.goto(link_of(slow, without=("cardiomegaly",)))
    expect(state(second)).to_have_text("Waiting: another explanation is made first.", timeout=WAIT_MS)
    asked = model.requests[-1]
    first.context.close()
    assert asked.saw_close.wait(60)
    expect(state(second)).to_have_text("Speaking of hit 1 …", timeout=WAIT_MS)
    second.context.close()
    assert slow.service.explaining.is_free.wait(60)


def test_without_the_model_the_evidence_is_there_and_can_be_copied(
    demo_gallery: Path, tmp_path: Path, browser: Browser
):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    with explained_by(unused_url(), demo_gallery, tmp_path) as served:
        page.goto(f"{served.url}/explain")
        box = at_rest(page.get_by_role("textbox", name="Explain the best hits for"))
        box.fill(ASKED)
        box.press("Enter")
        expect(page.locator(".problem")).to_contain_text("The explainer failed.", timeout=WAIT_MS)
        expect(page.locator(".explanation")).to_contain_text("The best of 3 hits for")
        expect(page.locator(".explanation")).not_to_contain_text("127.0.0.1")
        page.get_by_role("button", name="Copy as text").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert "The best of 3 hits for" in copied
        page.goto(link_of(served) + "&hit=41")
        expect(page.locator(".explained li")).to_have_count(1, timeout=WAIT_MS)
        expect(page.locator(".explained")).to_contain_text("image 41")
        page.goto(f"{served.url}/explain?s=gone")
        expect(page.get_by_role("alert")).to_contain_text("No longer there", timeout=WAIT_MS)
        context.close()
