"""The page of several images side by side, in a real browser."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from serving import Served
from viewing import address_of, answered, drawn, images_of, series_of, wait_for

from medsiglip_search.service.asking import Asked, Link


def test_one_window_zoom_and_slice_is_for_all(served: Served, page: Page, artefacts: Path) -> None:
    slices = series_of(served, "CT", 3)
    colours = images_of(served, "modality = 'DMS'")[0]
    page.goto(f"{served.url}/compare?gallery=demo&images={slices[0]},{slices[-1]},{colours}")
    first, last, third = (page.locator(".viewer").nth(place) for place in range(3))
    wait_for(third, address_of(colours))
    wait_for(first, address_of(slices[0], window="soft_tissue"))
    page.get_by_role("button", name="Brain").click()
    for viewer, image in ((first, slices[0]), (last, slices[-1])):
        wait_for(viewer, address_of(image, window="brain"))
        np.testing.assert_array_equal(
            drawn(viewer.locator(".viewer-picture")), answered(served, address_of(image, window="brain"))
        )
    wait_for(third, address_of(colours))  # it has no values to window

    boxes = [viewer.locator(".viewer-layers").bounding_box() for viewer in (first, last, third)]
    last.locator(".viewer-stage").focus()
    page.keyboard.press("+")
    for viewer, before in zip((first, last, third), boxes, strict=True):
        after = viewer.locator(".viewer-layers").bounding_box()
        assert before is not None
        assert after is not None
        assert after["width"] == pytest.approx(before["width"] * 1.25, rel=1e-3)

    page.keyboard.press("End")
    wait_for(first, address_of(slices[-1], window="brain"))
    wait_for(last, address_of(slices[-1], window="brain"))
    page.keyboard.press("Home")
    wait_for(first, address_of(slices[0], window="brain"))
    wait_for(last, address_of(slices[0], window="brain"))
    page.screenshot(path=artefacts / "compare-1440.png", full_page=True)
    page.set_viewport_size({"width": 800, "height": 1000})
    page.screenshot(path=artefacts / "compare-800.png", full_page=True)


def test_from_a_search_one_comes_back_to_it(served: Served, page: Page) -> None:
    token = served.service.links.keep("none:local", Link("demo", Asked(text="nevus")))
    page.goto(f"{served.url}/compare?gallery=demo&images=1&s={token}")
    page.get_by_label("Add image").fill("2")
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".viewer")).to_have_count(2)
    expect(page.get_by_role("link", name="Remove image 2")).to_have_attribute(
        "href", f"/compare?gallery=demo&images=1&s={token}"
    )
    back = page.get_by_role("link", name="Back to the search")
    expect(back).to_have_attribute("href", f"/?s={token}")


def test_what_differs_is_marked_and_one_can_be_removed(served: Served, page: Page) -> None:
    first, *_, last = series_of(served, "CT", 3)
    page.goto(f"{served.url}/compare?gallery=demo&images={first},{last}")
    differing = page.locator(".compare-table tr.differs th")
    expect(page.locator(".compare-table tbody tr").first).to_be_visible()
    names = [name.removesuffix("≠").strip() for name in differing.all_inner_texts()]
    assert "Position (mm)" in names
    assert not {"Modality", "Body part", "Patient", "Study", "Series", "Report"} & set(names)

    page.get_by_role("link", name=f"Remove image {first}").click()
    expect(page.get_by_text("Compare shows two to four images")).to_be_visible()
    expect(page.locator(".viewer")).to_have_attribute("data-image", str(last))
    page.get_by_label("Add image").fill(str(first))
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".viewer")).to_have_count(2)
    expect(page.locator(".viewer").nth(1)).to_have_attribute("data-image", str(first))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("images=1,1", "the same image twice"),
        ("images=abc", "images are known by whole numbers"),
        ("images=1,2,3,4,5", "at most 4"),
        ("images=1,%3Cscript%3E", "images are known by whole numbers"),
        (f"images=1,{10**18}", "no such image"),
        ("images=", "names no image"),
    ],
)
def test_an_address_that_leads_nowhere_says_so(served: Served, page: Page, asked: str, told: str) -> None:
    page.goto(f"{served.url}/compare?gallery=demo&{asked}")
    expect(page.locator(".problem-page")).to_contain_text(told)
    expect(page.get_by_role("link", name="Back to the search")).to_be_visible()
    expect(page.locator(".viewer")).to_have_count(0)
