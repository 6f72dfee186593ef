"""The map, in a real browser: drawn, looked at, and chosen from, by mouse and by keyboard."""

import base64
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
from playwright.sync_api import Page, expect
from serving import Served
from viewing import at_rest

from medsiglip_search.service.access.authenticating import LOCAL
from medsiglip_search.service.mapping import Area
from ui.map import packed

WAIT_MS = 60_000
COLOURS = """() => {
  const canvas = document.querySelector('.map canvas');
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const seen = {};
  for (let place = 0; place < pixels.length; place += 4) {
    if (pixels[place + 3] < 255) continue;
    const colour = pixels.slice(place, place + 3).join();
    seen[colour] = (seen[colour] || 0) + 1;
  }
  return seen;
}"""
STATUS = ".map-count [role=status]"
MARGIN = 12  # of map.js


def opened(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/map")
    page.locator(".map canvas[data-drawn]").wait_for(timeout=WAIT_MS)


def colours(page: Page) -> set[tuple[int, ...]]:
    """Return the colours that many pixels of the canvas have."""
    seen = page.evaluate(COLOURS)
    return {tuple(map(int, colour.split(","))) for colour, count in seen.items() if count >= 4}


def swatches(page: Page) -> list[tuple[int, ...]]:
    told = [one.evaluate("one => one.style.background") for one in page.locator(".map-legend label i").all()]
    return [tuple(map(int, re.findall(r"\d+", one))) for one in told]


def chosen(page: Page) -> int:
    """Return how many images the page says are chosen."""
    status = page.locator(STATUS)
    expect(status).to_have_text(re.compile(r"^\s*\d+ images? chosen\s*$"), timeout=WAIT_MS)
    return int(re.findall(r"\d+", status.inner_text())[0])


def searched_in(page: Page, served: Served) -> int:
    """Follow to the search in what is chosen, and return in how many images that is."""
    page.get_by_role("button", name="Search in th").click()
    page.wait_for_url("**/?s=*", timeout=WAIT_MS)
    token = parse_qs(urlsplit(page.url).query)["s"][0]
    return len(served.service.links.get(LOCAL.owner, token).asked.filters["image_id"])


def test_points_are_packed_as_the_script_reads_them():
    places = np.array([[0.0, 1.0], [0.5, 0.25]], np.float32)
    bytes_ = base64.b64decode(packed(np.array([7, 70_000]), places, np.array([3, 255])))
    assert np.frombuffer(bytes_[:8], "<u4").tolist() == [7, 70_000]
    assert np.frombuffer(bytes_[8:12], "<u2").tolist() == [0, 32768]
    assert np.frombuffer(bytes_[12:16], "<u2").tolist() == [65535, 16384]
    assert list(bytes_[16:]) == [3, 255]


def test_a_map_is_drawn_in_the_colours_of_its_legend_and_searched_in(
    served: Served, page: Page, artefacts: Path
):
    opened(page, served)
    view = served.service.galleries["demo"].view
    expect(page.locator(".map canvas")).to_have_attribute("data-drawn", str(len(view.gallery)))
    assert set(swatches(page)) <= colours(page)
    modalities = view.facets.count(None, ["modality"])[0].values
    rows = [row.inner_text().split() for row in page.locator(".map-legend tbody tr").all()]
    assert sorted(rows) == sorted([str(value), str(count)] for value, count in modalities)
    page.screenshot(path=artefacts / "map-1440.png", full_page=True)

    # A rectangle counts what the server's own places say.
    canvas = page.locator(".map canvas")
    box = canvas.bounding_box()
    assert box is not None
    inner_width, inner_height = box["width"] - 2 - 2 * MARGIN, box["height"] - 2 - 2 * MARGIN
    unit = view.maps.projection("pca").unit()

    def at(x: float, y: float) -> tuple[float, float]:
        return box["x"] + 1 + MARGIN + x * inner_width, box["y"] + 1 + MARGIN + (1 - y) * inner_height

    edges = np.sort(unit, axis=0)
    low = (float(edges[20:22, 0].mean()), float(edges[10:12, 1].mean()))
    expect(page.get_by_role("button", name="Rectangle")).to_have_attribute("aria-pressed", "true")
    page.mouse.move(*at(*low))
    page.mouse.down()
    page.mouse.move(*at(1.01, 0.5), steps=3)
    page.mouse.move(*at(1.01, 1.01), steps=3)
    page.mouse.up()
    pixel = 1.5 / min(inner_width, inner_height)
    most = int(Area(((low[0] - pixel, low[1] - pixel), (1.1, 1.1))).holds(unit).sum())
    least = int(Area(((low[0] + pixel, low[1] + pixel), (1.1, 1.1))).holds(unit).sum())
    number = chosen(page)
    assert 0 < least <= number <= most < len(view.gallery)

    # What the legend leaves out is not chosen.
    before = page.locator(STATUS).inner_text()
    page.locator(".map-legend input").first.uncheck()
    expect(page.locator(STATUS)).not_to_have_text(before, timeout=WAIT_MS)
    assert swatches(page)[0] not in colours(page)
    number = chosen(page)
    assert searched_in(page, served) == number


def test_a_point_shows_its_picture_and_leads_to_its_case(served: Served, page: Page):
    opened(page, served)
    view = served.service.galleries["demo"].view
    unit = view.maps.projection("pca").unit()
    far = np.linalg.norm(unit[:, None] - unit[None], axis=2) + 9 * np.eye(len(unit))
    alone = int(far.min(axis=1).argmax())
    box = page.locator(".map canvas").bounding_box()
    assert box is not None
    x, y = unit[alone].tolist()
    page.mouse.move(
        box["x"] + 1 + MARGIN + x * (box["width"] - 2 - 2 * MARGIN),
        box["y"] + 1 + MARGIN + (1 - y) * (box["height"] - 2 - 2 * MARGIN),
    )
    image_id = int(view.gallery.select(None)[alone])
    expect(page.locator(".map-tip")).to_contain_text(f"image {image_id}")
    loaded = "document.querySelector('.map-tip img').naturalWidth > 0"
    page.wait_for_function(loaded)
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url(f"**/case?gallery=demo&image={image_id}", timeout=WAIT_MS)


def test_by_keyboard_a_map_is_moved_coloured_and_chosen_from(served: Served, page: Page, artefacts: Path):
    page.set_viewport_size({"width": 800, "height": 900})
    page.emulate_media(color_scheme="dark")
    opened(page, served)
    view = served.service.galleries["demo"].view
    page.locator(".map canvas").focus()
    picture = "document.querySelector('.map canvas').toDataURL()"
    for key in ("ArrowRight", "+", "0"):
        before = page.evaluate(picture)
        page.keyboard.press(key)
        page.wait_for_function(f"(before) => {picture} !== before", arg=before)
    page.get_by_role("combobox", name="Coloured by").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("year")
    page.keyboard.press("Enter")
    expect(page.locator(".map-ramp")).to_be_visible(timeout=WAIT_MS)
    page.wait_for_function(f"Object.keys(({COLOURS})()).length >= 4")  # what is drawn is not empty again
    page.get_by_role("button", name="Choose by numbers").press("Enter")
    for label, value in (("x from", 0), ("x to", 40), ("y from", 10), ("y to", 100)):
        at_rest(page.get_by_role("spinbutton", name=label)).fill(str(value))
    page.screenshot(path=artefacts / "map-800.png", full_page=True)
    page.get_by_role("button", name="Choose what lies between").press("Enter")
    expected = int(Area(((0.0, 0.1), (0.4, 1.0))).holds(view.maps.projection("pca").unit()).sum())
    assert chosen(page) == expected
    assert searched_in(page, served) == expected
