"""Every page, of a gallery of which nothing is known, and of one of which nearly everything is hidden."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from serving import Served, serving
from viewing import options

from medsiglip_search.cli import main

WAIT_MS = 60_000
HIDDEN = frozenset({"uri", "frame", "rows", "columns", "flags", "thumbnail", "report", "findings"}) | {
    *("modality", "body_part", "laterality", "view_position", "position_mm", "year", "manufacturer"),
    *("patient", "study", "series"),
}
GALLERIES = pytest.mark.parametrize("name", ["bare", "hidden"])


@pytest.fixture(scope="module")
def sparse(demo_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service of one PNG without metadata, and of the demo gallery with most columns hidden."""
    folder = tmp_path_factory.mktemp("sparse")
    (folder / "archive").mkdir()
    Image.linear_gradient("L").resize((64, 48)).save(folder / "archive" / "1.png")
    with pytest.raises(SystemExit, match="0"):
        main(["index", str(folder / "bare"), str(folder / "archive"), "--encoder", "demo"])
    archives = {"scans": str(demo_gallery.parent / "archive"), "bare": str(folder / "archive")}
    galleries = {"bare": folder / "bare", "hidden": demo_gallery}
    with serving(
        galleries, folder / "state", archives=archives, hidden=HIDDEN, explainer="evidence"
    ) as running:
        yield running


def first_image(served: Served, name: str) -> int:
    return int(served.service.galleries[name].view.gallery.select(None)[0])


def without_errors(page: Page) -> None:
    """Nothing on the page tells of an error, nor of what is hidden."""
    expect(page.locator(".toast-body")).to_have_count(0)
    expect(page.get_by_role("alert").filter(visible=True)).to_have_count(0)
    if page.url.startswith("explain", page.url.rindex("/") + 1):
        return  # which tells what the encoder takes an image for
    told = page.locator("body").inner_text()
    assert not re.search(r"\b(CR|CT|DMS|MR|CHEST)\b", told), told


@GALLERIES
def test_a_search_leads_to_cases_and_explanations(sparse: Served, page: Page, name: str) -> None:
    page.goto(f"{sparse.url}/?gallery={name}")
    expect(page.locator(".summary")).not_to_have_text("Loading …")
    box = page.get_by_role("textbox", name="Look for")
    box.fill("left pleural effusion")
    box.press("Enter")
    hit = page.locator(".hit").first
    expect(hit.locator(".about")).to_have_text(re.compile(r"^image \d+"))
    page.wait_for_function("document.querySelector('.hit img').naturalWidth > 0")
    without_errors(page)
    hit.locator("a.open").click()
    expect(page.get_by_role("heading", name=re.compile("^Picture image "))).to_be_visible()
    expect(page.locator(".viewer")).to_have_attribute("data-shown", re.compile("/picture"), timeout=WAIT_MS)
    without_errors(page)
    page.get_by_role("link", name="Explain").click()
    expect(page.locator(".explain-state [role=status]")).to_have_text("Done.", timeout=WAIT_MS)
    expect(page.locator(".explained li")).to_have_count(1)
    without_errors(page)


@GALLERIES
def test_filters_alone_show_images(sparse: Served, page: Page, name: str) -> None:
    page.goto(f"{sparse.url}/?gallery={name}")
    expect(page.locator(".summary")).not_to_have_text("Loading …")
    options(page)
    condition = page.get_by_label("SQL condition")
    condition.fill("image_id >= 0")
    condition.press("Enter")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".hit").first.locator(".about")).to_have_text(re.compile(r"^image \d+"))
    without_errors(page)


@GALLERIES
def test_images_are_compared(sparse: Served, page: Page, name: str) -> None:
    ids = [int(one) for one in sparse.service.galleries[name].view.gallery.select(None)[:2]]
    page.goto(f"{sparse.url}/compare?gallery={name}&images={','.join(map(str, ids))}")
    expect(page.locator(".viewer")).to_have_count(len(ids))
    expect(page.locator(".compare-table thead th")).to_have_count(len(ids) if len(ids) > 1 else 0)
    without_errors(page)


@GALLERIES
def test_a_map_is_drawn(sparse: Served, page: Page, name: str) -> None:
    page.goto(f"{sparse.url}/map?gallery={name}")
    images = len(sparse.service.galleries[name].view.gallery)
    expect(page.locator(".map canvas")).to_have_attribute("data-drawn", str(images), timeout=WAIT_MS)
    without_errors(page)


@GALLERIES
def test_images_are_labelled_and_rejected_files_listed(sparse: Served, page: Page, name: str) -> None:
    page.goto(f"{sparse.url}/label")
    page.get_by_role("combobox", name="Gallery").click()
    page.get_by_role("option", name=name).click()
    count = len(sparse.service.galleries[name].view.gallery)
    expect(page.locator("#fitting")).to_contain_text(f"{count} images: the whole gallery")
    page.get_by_role("button", name="Label", exact=True).click()
    expect(page.locator("#label-job .state")).to_have_text("done", timeout=WAIT_MS)
    expect(page.locator("#label-results table")).to_be_visible()
    expect(page.locator("#label-review .item")).to_be_visible()
    without_errors(page)
    page.goto(f"{sparse.url}/jobs")
    card = page.locator(".jobs li").first
    expect(card.locator(".state")).to_have_text("done")
    page.get_by_role("button", name="Rejected files").click()
    expect(page.locator("#rejected [role=status]")).to_be_visible()
    without_errors(page)
