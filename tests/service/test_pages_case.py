"""The page of one image, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from serving import Served, serving
from viewing import address_of, answered, drawn, images_of, own_window, series_of, wait_for

from medsiglip_search.cli import main
from medsiglip_search.labels.classifier import zero_shot
from medsiglip_search.labels.labeller import Labeller
from medsiglip_search.labels.shipped import shipped_label_set
from medsiglip_search.service.asking import Asked, Link

MARKUP = "<img src=x onerror=\"document.title='run'\"><b>bold</b>\nsecond line"


@pytest.fixture(scope="module")
def altered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service of two images: the report of the first is markup, and the file of the second has gone."""
    folder = tmp_path_factory.mktemp("altered")
    archive = folder / "archive"
    archive.mkdir()
    for number in (1, 2):
        shades = np.random.default_rng(number).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(shades).save(archive / f"{number}.png")
    quoted = MARKUP.replace('"', '""')
    (archive / "metadata.csv").write_text(f'path,report\n1.png,"{quoted}"\n2.png,plain\n')
    gallery = folder / "gallery"
    metadata = str(archive / "metadata.csv")
    with pytest.raises(SystemExit, match="0"):
        main(["index", str(gallery), str(archive), "--encoder", "demo", "--metadata", metadata])
    with pytest.raises(SystemExit, match="0"):
        main(["label", str(gallery), "modality", "--write-back"])
    (archive / "2.png").unlink()
    with serving({"demo": gallery}, folder / "state") as running:
        yield running


def opened(page: Page, served: Served, image: int, more: str = "", **asked: str) -> Locator:
    """Open the page of an image and return its viewer, when it shows the picture."""
    page.goto(f"{served.url}/case?gallery=demo&image={image}{more}")
    viewer = page.locator(".viewer")
    wait_for(viewer, address_of(image, **asked))
    return viewer


def test_a_ct_is_shown_through_windows_and_as_the_encoder_sees_it(
    served: Served, page: Page, artefacts: Path
) -> None:
    image = series_of(served, "CT", 2)[0]
    own = own_window(served, image)
    viewer = opened(page, served, image, window=own)
    picture = viewer.locator(".viewer-picture")
    grey = drawn(picture)
    assert (grey[..., 0] == grey[..., 2]).all()
    expect(page.get_by_role("button", name="The file's own")).to_have_attribute("aria-pressed", "true")
    expect(viewer.locator(".viewer-window")).to_contain_text("The file's own L ")

    page.get_by_role("button", name="As the encoder sees it").click()
    wait_for(viewer, address_of(image))
    expect(page.get_by_label("Level in HU")).to_be_disabled()
    expect(page.get_by_label("Width in HU")).to_be_disabled()
    seen = drawn(picture)
    np.testing.assert_array_equal(seen, answered(served, address_of(image)))
    assert (seen[..., 0] != seen[..., 2]).any(), "three windows, in colours"
    expect(viewer.locator(".viewer-window")).to_have_text("as the encoder sees it")

    page.get_by_role("button", name="Bone").click()
    wait_for(viewer, address_of(image, window="bone"))
    through_bone = drawn(picture)
    np.testing.assert_array_equal(through_bone, answered(served, address_of(image, window="bone")))
    assert (through_bone != seen).any()
    expect(page.get_by_role("button", name="Bone")).to_have_attribute("aria-pressed", "true")
    assert page.get_by_label("Level in HU").input_value() == "400"

    page.get_by_label("Level in HU").press("ArrowRight")
    wait_for(viewer, address_of(image, window="401%2C1800"))
    np.testing.assert_array_equal(drawn(picture), answered(served, address_of(image, window="401,1800")))
    expect(page.get_by_role("button", name="Bone")).to_have_attribute("aria-pressed", "false")
    page.screenshot(path=artefacts / "case-1440.png")
    page.set_viewport_size({"width": 800, "height": 1000})
    page.screenshot(path=artefacts / "case-800.png", full_page=True)


def test_dragging_with_the_right_button_sets_level_and_width(served: Served, page: Page) -> None:
    image = series_of(served, "CT", 2)[0]
    viewer = opened(page, served, image, window=own_window(served, image))
    level, width = (float(page.get_by_label(name).input_value()) for name in ("Level in HU", "Width in HU"))
    box = viewer.locator(".viewer-stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down(button="right")
    page.mouse.move(box["x"] + 300, box["y"] + 250, steps=7)
    page.mouse.up(button="right")
    expect(page.get_by_role("button", name="The file's own")).to_have_attribute("aria-pressed", "false")
    assert float(page.get_by_label("Level in HU").input_value()) > level
    assert float(page.get_by_label("Width in HU").input_value()) > width
    shown = [page.get_by_label(name).input_value() for name in ("Level in HU", "Width in HU")]
    wait_for(viewer, address_of(image, window="%2C".join(shown)))


def test_a_picture_in_colours_has_no_windows(served: Served, page: Page) -> None:
    opened(page, served, images_of(served, "modality = 'DMS'")[0])
    expect(page.get_by_role("button", name="Fit")).to_be_visible()
    expect(page.get_by_role("group", name="Window")).to_have_count(0)


def test_a_radiograph_has_levels_in_its_own_values_and_no_ct_windows(served: Served, page: Page) -> None:
    image = images_of(served, "modality = 'CR'")[0]
    opened(page, served, image)
    expect(page.get_by_label("Level", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Bone")).to_have_count(0)
    with served.client() as client:
        values = client.get(f"/v1/galleries/demo/images/{image}/values").json()["values"]
    slider = page.get_by_label("Level", exact=True)
    assert [float(slider.get_attribute(end) or "") for end in ("min", "max")] == [
        values["low"],
        values["high"],
    ]


def test_the_keyboard_moves_zooms_and_goes_through_slices_by_their_position(
    served: Served, page: Page
) -> None:
    slices = series_of(served, "CT", 3)
    window = own_window(served, slices[1])
    viewer = opened(page, served, slices[1], window=window)
    stage, layers = viewer.locator(".viewer-stage"), viewer.locator(".viewer-layers")
    stage.focus()
    page.keyboard.press("Home")
    wait_for(viewer, address_of(slices[0], window=window))
    for image in slices[1:]:
        page.keyboard.press("ArrowDown")
        wait_for(viewer, address_of(image, window=window))
        np.testing.assert_array_equal(
            drawn(viewer.locator(".viewer-picture")), answered(served, address_of(image, window=window))
        )
    expect(viewer.locator(".viewer-slice")).to_have_text(f"slice {len(slices)} of {len(slices)}")
    page.keyboard.press("PageUp")
    wait_for(viewer, address_of(slices[-2], window=window))
    assert page.get_by_label(re.compile("^Slice of")).input_value() == str(len(slices) - 2)

    fitted = layers.bounding_box()
    assert fitted is not None
    page.keyboard.press("+")
    page.keyboard.press("+")
    zoomed = layers.bounding_box()
    assert zoomed is not None
    assert zoomed["width"] == pytest.approx(fitted["width"] * 1.25**2, rel=1e-3)
    page.keyboard.press("ArrowLeft")
    moved = layers.bounding_box()
    assert moved is not None
    assert (moved["x"] - zoomed["x"], moved["y"]) == pytest.approx((40, zoomed["y"]), abs=0.01)
    page.keyboard.press("ArrowDown")
    lowered = layers.bounding_box()
    assert lowered is not None
    assert lowered["y"] - moved["y"] == pytest.approx(-40, abs=0.01)
    page.keyboard.press("0")
    assert layers.bounding_box() == pytest.approx(fitted, abs=0.01)


def test_the_heat_map_is_hottest_where_the_api_says_and_as_opaque_as_the_slider(
    served: Served, page: Page
) -> None:
    image = images_of(served, "findings LIKE '%pneumothorax%'")[0]
    asked = Asked(text="pneumothorax", top_k=5)
    token = served.service.links.keep("none:local", Link("demo", asked))
    viewer = opened(page, served, image, f"&s={token}")
    expect(page.get_by_role("link", name="Back to the search")).to_have_attribute("href", f"/?s={token}")
    expect(page.get_by_label("Where does it show")).to_have_value("pneumothorax")
    page.get_by_role("button", name="Show").click()
    heat = viewer.locator(".viewer-heat")
    expect(heat).to_be_visible()
    with served.client() as client:
        answer = client.post(
            f"/v1/galleries/demo/images/{image}/heatmap", json={"text": "pneumothorax", "form": "layer"}
        )
    x, y = map(int, answer.headers["X-Hottest"].split(","))
    opacities = drawn(heat)[..., 3]
    assert opacities[y, x] == opacities.max() == 255
    assert opacities.min() == 0
    assert heat.evaluate("one => getComputedStyle(one).opacity") == "0.6"
    page.get_by_label("Opacity of the heat map").press("ArrowLeft")
    assert heat.evaluate("one => getComputedStyle(one).opacity") == "0.55"
    page.get_by_role("button", name="Hide").click()
    expect(heat).to_be_hidden()


def test_the_bars_are_the_labellers_own_numbers(served: Served, page: Page) -> None:
    image = images_of(served, "modality = 'DMS'")[0]
    searcher = served.service.galleries["demo"].view.searcher
    labeller = Labeller(zero_shot(shipped_label_set("skin-conditions-79"), searcher.encoder))
    probabilities = labeller.label(searcher.gallery.embeddings_of([image])).best[0]
    expected = sorted(
        zip(labeller.classifier.labels, map(float, probabilities), strict=True), key=lambda one: -one[1]
    )
    opened(page, served, image)
    page.get_by_label("Scores of a label set").click()
    page.get_by_role("option", name="skin-conditions-79").click()
    bars = page.locator(".bars li")
    expect(bars).to_have_count(79)
    told = bars.evaluate_all("all => all.map(one => [one.dataset.label, Number(one.dataset.probability)])")
    assert [label for label, _ in told[:12]] == [label for label, _ in expected[:12]]
    np.testing.assert_allclose([one for _, one in told], [one for _, one in expected], rtol=1e-6)
    width = bars.first.locator(".bar-fill").evaluate("one => one.style.width")
    assert width == f"{100 * expected[0][1]:.2f}%"
    assert bars.nth(11).is_visible()
    assert not bars.nth(12).is_visible(), "the rest is told when it is asked for"
    page.get_by_text("All 79 labels").click()
    expect(bars.nth(78)).to_be_visible()


def test_what_a_file_says_is_text(altered: Served, page: Page) -> None:
    opened(page, altered, 1)
    report = page.locator(".report")
    assert report.text_content() == MARKUP
    assert report.locator("*").count() == 0
    assert page.title() != "run"


def test_decisions_that_the_gallery_keeps_are_told(altered: Served, page: Page) -> None:
    [instance] = altered.service.galleries["demo"].view.gallery.instances([1])
    opened(page, altered, 1)
    decided = page.get_by_role("region", name="Decided labels")
    assert re.sub(r"\s+", " ", decided.inner_text()).endswith(
        f"modality {instance.sidecar['modality_label']}"
    )


def test_of_a_file_that_has_gone_the_thumbnail_is_shown_and_that_is_said(altered: Served, page: Page) -> None:
    viewer = opened(page, altered, 2)
    expect(viewer.get_by_role("status")).to_contain_text("no longer in its archive")
    with altered.client() as client:
        thumbnail = client.get("/v1/galleries/demo/images/2/thumbnail").content
    assert drawn(viewer.locator(".viewer-picture")).shape[:2] == (40, 60)
    assert thumbnail
    expect(page.get_by_text("plain", exact=True)).to_be_visible()


def test_without_a_search_what_is_similar_is_explained(served: Served, page: Page) -> None:
    image = images_of(served, "modality = 'CR'")[0]
    opened(page, served, image)
    expect(page.locator(".facts dt", has_text="Frame").locator("+ dd")).to_have_text("1")
    page.get_by_role("link", name="Explain").click()
    expect(page.locator(".explain-state [role=status]")).to_have_text("Done.")
    expect(page.locator(".explained .asked")).to_have_text(f"similar to image {image}")
    expect(page.locator(".explained li")).to_have_count(3)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("gallery=demo&image=1'", "images are known by whole numbers"),
        ("gallery=demo&image=abc", "images are known by whole numbers"),
        ("gallery=demo", "names no image"),
        ("gallery=demo&image=1,2", "Case shows one"),
        (
            f"gallery=demo&image={10**18}",
            "no such image in this gallery; open one from a hit of a search. (ref ",
        ),
        ("gallery=%3Cb%3E&image=1", "no such gallery for you; choose one on the page Search. (ref "),
    ],
)
def test_an_address_that_leads_nowhere_says_so_and_leads_back(
    served: Served, page: Page, asked: str, told: str
) -> None:
    page.goto(f"{served.url}/case?{asked}")
    expect(page.locator(".problem-page")).to_contain_text(told)
    expect(page.get_by_role("link", name="Back to the search")).to_have_attribute("href", "/")
    expect(page.locator(".viewer")).to_have_count(0)
