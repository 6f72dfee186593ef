"""Pictures of the browser pages for docs/pages.md, of a service that is open on this machine.

medsiglip-search demo --images 600
medsiglip-search serve demo=demo-output/gallery --explainer demo --archive scans=demo-output/archive
python -m benchmarks.page_pictures http://127.0.0.1:7860 docs/pages
"""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
QUERY = "left pleural effusion"
SEARCH = "/?" + urlencode({"gallery": "demo"})
WAIT_MS = 60_000
_DRAWN = "[...document.images].every(one => one.complete || one.loading === 'lazy')"


def main(url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, show in VIEWS.items():
            scheme = "dark" if name.endswith("dark") else "light"
            page = browser.new_page(viewport={"width": 1280, "height": 860}, color_scheme=scheme)
            page.set_default_timeout(WAIT_MS)
            show(page, url)
            page.mouse.move(0, 0)
            page.wait_for_timeout(1500)
            page.wait_for_function(_DRAWN)
            # Few colours make a file a third as large, and look the same in a page of text.
            shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            shown.quantize(256, dither=Image.Dither.NONE).save(folder / f"{name}.png", optimize=True)
            page.close()
        browser.close()


def _search(page: Page, url: str, text: str = QUERY) -> None:
    page.goto(url + SEARCH)
    page.get_by_label("Look for").fill(text)
    page.get_by_label("Look for").press("Enter")
    page.locator(".hit").nth(9).wait_for()
    page.wait_for_timeout(1000)


def _similar(page: Page, url: str) -> None:
    page.set_viewport_size({"width": 800, "height": 860})
    _search(page, url)
    page.locator(".hit").first.get_by_role("button", name="Similar").click()
    page.get_by_text("like image").first.wait_for()


def _case(page: Page, url: str) -> None:
    _search(page, url)
    page.locator(".hit a.open").first.click()
    where = page.get_by_placeholder("such as pleural effusion")
    where.wait_for()
    page.locator("img.viewer-picture[src]").wait_for()
    where.fill("pleural effusion")
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_label("Scores of a label set").click()
    page.get_by_role("option", name="demo-findings").click()
    page.locator(".bar-name").first.wait_for()


def _compare(page: Page, url: str) -> None:
    _search(page, url, "hydrocephalus")
    ids = [page.locator(".hit a.open").nth(place).get_attribute("href") or "" for place in (0, 3)]
    images = ",".join(one.partition("image=")[2].partition("&")[0] for one in ids)
    page.goto(f"{url}/compare?{urlencode({'gallery': 'demo', 'images': images})}")
    page.locator("img.viewer-picture[src]").nth(1).wait_for()
    page.get_by_role("button", name="Stroke").click()


def _explain(page: Page, url: str) -> None:
    page.goto(f"{url}/explain")
    page.get_by_label("Explain the best hits for").fill(QUERY)
    page.get_by_role("button", name="Explain", exact=True).click()
    page.get_by_text("Done.", exact=True).wait_for()


def _map(page: Page, url: str) -> None:
    page.goto(f"{url}/map?gallery=demo")
    page.locator("canvas[data-drawn]").wait_for()
    box = page.locator("canvas").bounding_box()
    assert box is not None
    page.wait_for_timeout(1000)
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.45 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.98 * box["width"], box["y"] + 0.95 * box["height"], steps=8)
    page.mouse.up()


def _label(page: Page, url: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 1300})
    page.goto(f"{url}/label")
    page.get_by_role("combobox", name="Begin with the label set").click()
    page.get_by_role("option", name="demo-findings").click()
    page.wait_for_timeout(1000)
    page.get_by_role("button", name="Label", exact=True).click()
    page.locator("#label-review .item").wait_for()
    page.locator("#label-results").scroll_into_view_if_needed()
    page.evaluate("document.querySelector('#label-job').scrollIntoView()")


def _jobs(page: Page, url: str) -> None:
    page.goto(f"{url}/jobs")
    page.locator(".jobs li").first.wait_for()


VIEWS: dict[str, Callable[[Page, str], None]] = {
    "search": _search,
    "similar-narrow-dark": _similar,
    "case": _case,
    "compare": _compare,
    "explain": _explain,
    "map": _map,
    "label": _label,
    "jobs": _jobs,
}


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), Path(sys.argv[2]))
