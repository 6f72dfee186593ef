"""The page to label: a set changed in place, run, its bars and files, and the review."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from serving import Served, serving
from viewing import at_rest

from medsiglip_search.cli import main
from medsiglip_search.gallery import Gallery
from medsiglip_search.service.access.authenticating import AccessSettings
from medsiglip_search.service.reviews import read_reviews
from ui.label_sets import table_of, yaml_of_table

YAML = """\
name: lung
mode: findings
templates: {absent: ["no {}"]}
labels:
  effusion:
    present: [pleural effusion]
  nodule:
    present: [lung nodule]
"""


@pytest.fixture(scope="module")
def closed(demo_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    state = tmp_path_factory.mktemp("closed") / "state"
    with serving({"demo": demo_gallery}, state, AccessSettings(keys=True)) as running:
        yield running


def opened(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/label")
    expect(page.locator("#fitting")).to_contain_text("90 images: the whole gallery", timeout=60_000)


def write_yaml(page: Page, text: str) -> None:
    page.get_by_role("tab", name="YAML").click()
    at_rest(page.locator("#yaml textarea")).fill(text)
    page.locator("#yaml textarea").blur()


def test_a_set_is_changed_run_downloaded_and_reviewed(
    served: Served,
    page: Page,
    demo_gallery: Path,
    artefacts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "lung.yaml").write_text(YAML)
    out, where = tmp_path / "labels.csv", "modality = 'CR'"
    with pytest.raises(SystemExit, match="0"):
        main(
            [
                "label",
                str(demo_gallery),
                str(tmp_path / "lung.yaml"),
                "--where",
                where,
                "--json",
                "--out",
                str(out),
            ]
        )
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    count = sum(expected[0][word] for word in ("present", "absent", "abstain"))

    opened(page, served)
    write_yaml(page, YAML.replace("present: [lung", "presnt: [lung"))
    expect(page.locator("#set-state .problem")).to_contain_text("line 8")
    write_yaml(page, YAML)
    expect(page.locator("#set-state")).to_contain_text("lung: 2 labels, each present or absent")
    page.get_by_role("button", name="Which images").click()
    page.locator("fieldset[data-column=modality]").get_by_label("CR").check()
    expect(page.locator("#fitting")).to_contain_text(f"{count} images fit the filter")
    page.get_by_role("button", name="Label", exact=True).click()
    rows = page.locator(".label-results tbody tr")
    expect(rows).to_have_count(2)
    for row, told in zip(rows.all(), expected, strict=True):
        assert row.get_attribute("data-label") == told["label"]
        cells = row.locator(".number").all_inner_texts()
        assert [int(cell.split()[0]) for cell in cells[:3]] == [
            told["present"],
            told["abstain"],
            told["absent"],
        ]
        assert cells[3] == f"{told['mean_probability']:.3f}"
        style = row.locator("i.present").get_attribute("style") or ""
        assert style == f"width: {100 * told['share']:.3f}%"
    with page.expect_download() as download:
        page.locator(".label-results").get_by_role("link", name="labels.csv").click()
    told, made = (list(csv.DictReader(path.open(newline=""))) for path in (download.value.path(), out))
    # All that the command writes, but for the place of the archive on the server.
    assert told == [{name: cell for name, cell in row.items() if name != "archive"} for row in made]
    assert len(told) == 2 * count

    review = page.locator("#label-review")
    expect(review).to_contain_text("0 reviewed by you")
    shown = review.locator(".item .label").inner_text()
    page.locator("#label-results h2").click()
    page.keyboard.press("d")
    expect(review).to_contain_text("1 reviewed by you")
    page.keyboard.press("z")
    expect(review).to_contain_text("0 reviewed by you")
    folder = served.service.settings.state / "reviews"
    assert read_reviews(folder, "demo") == []
    page.keyboard.press("a")
    expect(review).to_contain_text("1 reviewed by you")
    [said] = read_reviews(folder, "demo")
    assert (said.who, said.answer, said.label, said.label_set) == ("local", "agree", shown, "lung")
    for width in (1440, 800):
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=artefacts / f"label-{width}.png", full_page=True)

    page.reload()
    expect(rows).to_have_count(2)
    expect(review).to_contain_text("1 reviewed by you")


def test_the_table_and_the_yaml_say_the_same(served: Served, page: Page) -> None:
    opened(page, served)
    write_yaml(page, YAML)
    expect(page.locator("#set-state")).to_contain_text("lung: 2 labels")
    page.get_by_role("tab", name="Table").click()
    names = page.get_by_role("textbox", name="Label", exact=True)
    expect(names).to_have_count(2)
    expect(page.get_by_label("Words for its absence").nth(1)).to_have_value("no lung nodule")
    page.get_by_role("button", name="Add a label").click()
    page.keyboard.type("no: such")
    expect(page.locator("#set-state .problem")).to_contain_text("line 11")
    page.get_by_label("Words for it", exact=True).nth(2).fill("odd: thing\nyes")
    page.get_by_label("Words for its absence").nth(2).fill("normal")
    expect(page.locator("#set-state")).to_contain_text("lung: 3 labels")
    page.get_by_role("tab", name="YAML").click()
    expect(page.locator("#yaml textarea")).to_have_value(re.compile(r'present: \["odd: thing", "yes"\]'))


def test_a_run_takes_what_the_page_shows_at_that_moment(
    served: Served, page: Page, demo_gallery: Path
) -> None:
    opened(page, served)
    page.get_by_role("button", name="Which images").click()
    at_rest(page.locator("fieldset[data-column=modality]").get_by_label("CR")).check()
    page.get_by_role("textbox", name="Label", exact=True).first.fill("renamed")
    page.get_by_role("button", name="Label", exact=True).click()

    first = page.locator(".label-results tbody tr").first
    expect(first).to_have_attribute("data-label", "renamed")
    cells = first.locator(".number").all_inner_texts()
    count = len(Gallery.open(demo_gallery).select("modality = 'CR'"))
    assert sum(int(cell.split()[0]) for cell in cells[:3]) == count < 90

    write_yaml(page, YAML)
    page.get_by_role("button", name="Label", exact=True).click()
    expect(page.locator(".label-results tbody tr")).to_have_count(2)


def test_what_is_pasted_or_deleted_is_read_at_once(served: Served, page: Page) -> None:
    opened(page, served)
    page.get_by_role("tab", name="YAML").click()
    page.locator("#yaml textarea").click()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.insert_text(YAML)
    expect(page.locator("#set-state")).to_contain_text("lung: 2 labels")
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.press("Backspace")
    expect(page.locator("#set-state .problem")).to_be_visible()


def test_a_reader_is_told_which_role_it_needs(closed: Served, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{closed.url}/label")
    page.locator("input[name=key]").fill(closed.key("rita", "reader"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("Labelling needs the role labeller, and yours is reader")).to_be_visible()
    expect(page.get_by_role("button", name="Label", exact=True)).to_have_count(0)
    context.close()


def test_what_a_set_says_is_text_and_never_markup() -> None:
    told = {
        "name": "<b>",
        "mode": "findings",
        "rows": [{"name": "<img src=x>", "present": "a", "absent": "b"}],
    }
    drawn = table_of(yaml_of_table(told))
    assert "<img" not in drawn
    assert "&lt;img src=x&gt;" in drawn
