"""What is to be seen in the viewers of a page, to be compared with what the API answers."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from serving import Served

# The first picture of a service waits for a process that decodes it.
expect.set_options(timeout=30_000)

_DRAWN = """(image) => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  canvas.getContext('2d').drawImage(image, 0, 0);
  return canvas.toDataURL('image/png').split(',')[1];
}"""

FRAMES = 10
"""Frames in which Gradio sets what it has just drawn, with room to spare."""

_FRAMES = """(count) => new Promise((done) => {
  const next = () => (count-- ? requestAnimationFrame(next) : done());
  next();
})"""


def images_of(served: Served, where: str) -> list[int]:
    """Return the image_ids of the demo gallery that fit, ascending."""
    return [int(one) for one in served.service.galleries["demo"].view.gallery.select(where)]


def address_of(image_id: int, **asked: Any) -> str:
    """Return from where a viewer has got its picture."""
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    return f"/v1/galleries/demo/images/{image_id}/picture?{query}"


def own_window(served: Served, image_id: int) -> str:
    """Return the window of an image's own file, as addresses have it."""
    with served.client() as client:
        window = client.get(f"/v1/galleries/demo/images/{image_id}/values").json()["values"]["window"]
    low, high = window["low"], window["high"]
    return f"{(low + high) / 2:g}%2C{high - low:g}"


def at_rest(box: Locator) -> Locator:
    """Return a box once it has been drawn; what is written into it before that, the page overwrites."""
    box.click(trial=True)  # waits until it is there, and in its place
    box.page.evaluate(_FRAMES, FRAMES)
    return box


def options(page: Page) -> None:
    """Open the options of the page Search."""
    page.get_by_role("button", name="Options").click()
    at_rest(page.get_by_label("SQL condition"))


def wait_for(viewer: Locator, address: str) -> None:
    """Wait until a viewer shows the picture of this address."""
    expect(viewer).to_have_attribute("data-shown", address)


def drawn(image: Locator) -> np.ndarray:
    """Return the (H, W, 4) pixels that an image in the page has."""
    return pixels(base64.b64decode(image.evaluate(_DRAWN)))


def answered(served: Served, address: str) -> np.ndarray:
    """Return the (H, W, 4) pixels of the API's picture."""
    with served.client() as client:
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        return pixels(answer.content)


def pixels(file: bytes) -> np.ndarray:
    """Return the (H, W, 4) pixels of a picture file."""
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGBA"))


def series_of(served: Served, modality: str, at_least: int) -> list[int]:
    """Return the images of a series of so many slices, by their position."""
    gallery = served.service.galleries["demo"].view.gallery
    by_series: dict[str | None, list[tuple[float, int]]] = {}
    for one in gallery.instances(gallery.select(f"modality = '{modality}' AND position_mm IS NOT NULL")):
        place = (one.attributes.position_mm or 0.0, one.image_id)
        by_series.setdefault(one.attributes.series, []).append(place)
    return next(
        [image for _, image in sorted(places)] for places in by_series.values() if len(places) >= at_least
    )
