"""The page to search, in a real browser."""

import base64
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, expect
from serving import Served, serving
from viewing import options

from medsiglip_search.cli import main
from medsiglip_search.service.access.authenticating import AccessSettings
from medsiglip_search.service.asking import Asked, Link
from ui.wording import note_words

QUERY = "left pleural effusion"


def api_hits(served: Served, **asked: Any) -> list[dict[str, Any]]:
    with served.client() as client:
        answer = client.post("/v1/galleries/demo/searches", json=asked)
    assert answer.status_code == 200
    return answer.json()["hits"]


def ids(page: Page) -> list[int]:
    return [int(one.get_attribute("data-id") or 0) for one in page.locator(".hit").all()]


def box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Look for")


def opened(page: Page, served: Served, address: str = "/") -> None:
    page.goto(served.url + address)
    expect(page.locator(".summary")).not_to_have_text("Loading …")


def drawn(page: Page, before: str) -> None:
    """Wait until another search is shown than that of the address `before`."""
    page.wait_for_function("before => location.href !== before", arg=before)


def let_go(page: Page, held: list[Route]) -> None:
    """Let the first request go on, once it has been caught."""
    while not held:
        page.wait_for_timeout(10)
    held[0].continue_()


def search(page: Page, text: str) -> None:
    before = page.url
    box(page).fill(text)
    box(page).press("Enter")
    drawn(page, before)


def press(page: Page, name: str) -> None:
    before = page.url
    page.get_by_role("button", name=name, exact=True).first.click()
    drawn(page, before)


def facet(page: Page, column: str, value: str) -> Locator:
    return page.get_by_role("group", name=column).get_by_role("button", name=re.compile(f"^{value}"))


def test_hits_are_in_the_order_of_the_api_and_no_address_tells_what_was_asked(
    served: Served, page: Page, artefacts: Path
) -> None:
    opened(page, served)
    expect(page.get_by_text("Look for images by what they show")).to_be_visible()
    search(page, QUERY)
    hits = api_hits(served, text=QUERY)
    assert ids(page) == [hit["image_id"] for hit in hits]
    expect(page.locator(".legend")).to_contain_text("stands out from the gallery (relevance from 7.3 on)")
    first = page.locator(".hit").first
    expect(first.locator(".score")).to_have_text(f"{hits[0]['score']:.3f}")
    expect(first.locator(".relevance")).to_contain_text(f"{hits[0]['relevance']:+.1f}")
    expect(first.locator(".report")).to_have_text(hits[0]["report"])
    assert re.fullmatch(re.escape(served.url) + r"/\?s=[\w-]{22}", page.url)
    page.wait_for_function("[...document.images].slice(0, 5).every(one => one.naturalWidth > 0)")
    page.screenshot(path=artefacts / "search-1440.png")
    page.set_viewport_size({"width": 800, "height": 900})
    page.screenshot(path=artefacts / "search-800.png")


def test_what_has_no_good_answer_says_so_above_what_is_nearest(served: Served, page: Page) -> None:
    opened(page, served)
    search(page, "train timetable")
    expect(page.get_by_text("Nothing stands out: the gallery probably holds no good match.")).to_be_visible()
    assert len(ids(page)) == 20


def test_a_dropped_dicom_finds_what_is_like_it(served: Served, page: Page, demo_archive: Path) -> None:
    [own, *_] = api_hits(served, text=QUERY)
    opened(page, served)
    content = (demo_archive / own["uri"]).read_bytes()
    transfer = page.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], 'case.dcm'));
            return transfer;
        }""",
        list(content),
    )
    page.dispatch_event(".look-for", "drop", {"dataTransfer": transfer})
    expect(page.get_by_role("img", name=f"Picture 1: {own['modality']}")).to_be_visible()
    before = page.url
    page.get_by_role("button", name="Search", exact=True).click()
    drawn(page, before)
    assert own["image_id"] == ids(page)[0]
    page.get_by_role("button", name="Remove picture 1").click()
    expect(page.get_by_role("img", name="Picture 1")).to_have_count(0)


def png_file(name: str) -> dict[str, Any]:
    """Return a picture of 64 by 48, to be chosen from a disk."""
    png = io.BytesIO()
    Image.linear_gradient("L").resize((64, 48)).save(png, "png")
    return {"name": name, "mimeType": "image/png", "buffer": png.getvalue()}


@pytest.mark.parametrize("way", ["key", "button"])
def test_a_search_waits_for_a_picture_that_is_being_sent(served: Served, page: Page, way: str) -> None:
    held: list[Route] = []
    page.route("**/v1/uploads", lambda route: held.append(route))
    opened(page, served)
    page.locator(".pictures input[type=file]").set_input_files([png_file("a.png")])
    state = page.locator(".pictures .state")
    expect(state).to_have_text("Sending 1 picture …")
    before = page.url
    box(page).fill("nevus")
    box(page).press("Enter") if way == "key" else page.get_by_role("button", name="Search").click()
    expect(state).to_have_text("Sending 1 picture, then searching …")
    assert page.url == before
    let_go(page, held)
    drawn(page, before)
    expect(page.get_by_role("img", name="Picture 1: picture, 64 by 48")).to_be_visible()
    link = served.service.links.get("none:local", page.url.rsplit("=", 1)[1])
    assert len(link.asked.images) == 1
    assert len(ids(page)) == 20
    expect(state).to_be_empty()


def test_what_is_not_sent_is_named_and_not_searched_without(served: Served, page: Page) -> None:
    held: list[Route] = []
    page.route("**/v1/uploads", lambda route: route.continue_() if held else held.append(route))
    opened(page, served)
    text = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture " * 50}
    page.locator(".pictures input[type=file]").set_input_files([png_file("a.png"), text])
    before = page.url
    box(page).fill("nevus")
    box(page).press("Enter")
    let_go(page, held)
    problem = page.locator(".pictures .problem")
    expect(problem).to_contain_text("Picture 2 of 2, notes.txt: Not a picture that can be read.")
    expect(problem).to_contain_text("Nothing was searched for yet")
    expect(page.get_by_role("img", name="Picture 1")).to_be_visible()
    assert page.url == before
    search(page, "nevus")
    expect(page.get_by_role("img", name="Picture 1")).to_be_visible()


def test_no_more_pictures_than_are_kept_are_sent_and_one_that_is_gone_says_so(
    served: Served, page: Page
) -> None:
    opened(page, served)
    file = page.locator(".pictures input[type=file]")
    file.set_input_files([png_file(f"{number}.png") for number in range(17)])
    expect(page.locator(".pictures .problem")).to_have_text("At most 16 pictures at once: 1 of 17 not added.")
    expect(page.locator(".previews img")).to_have_count(16)
    # Sent in another tab, the oldest makes room for it.
    with served.client() as client:
        content = png_file("a.png")["buffer"]
        assert client.post("/v1/uploads", files={"file": content}).status_code in (200, 201)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".results .problem")).to_contain_text("No longer there.")
    gone = page.locator(".previews .gone")
    expect(gone).to_have_text("Picture 1 is no longer kept: remove it, and add it again")
    before = page.url
    page.get_by_role("button", name="Remove picture 1", exact=True).click()
    expect(gone).to_have_count(0)
    page.get_by_role("button", name="Search", exact=True).click()
    drawn(page, before)
    assert ids(page)


def test_with_nothing_to_look_for_the_page_says_what_to_do(served: Served, page: Page) -> None:
    opened(page, served)
    box(page).press("Enter")
    expect(page.locator(".results .notice")).to_have_text(
        "There is nothing to look for: type words or add a picture."
    )


def test_pictures_come_back_with_a_search_and_a_text_file_is_none(served: Served, page: Page) -> None:
    opened(page, served)
    file = page.locator(".pictures input[type=file]")
    file.set_input_files([{"name": "a.dcm", "mimeType": "text/plain", "buffer": b"no picture " * 50}])
    problem = page.locator(".pictures .problem")
    expect(problem).to_be_visible()
    expect(problem).to_contain_text(
        re.compile(r"^Not a picture that can be read\. [A-Z].+\. \(ref [\w-]+\)$")
    )
    expect(problem).not_to_contain_text("a.dcm")
    file.set_input_files([png_file("b.png")])
    expect(page.get_by_role("img", name="Picture 1: picture, 64 by 48")).to_be_visible()
    expect(problem).to_be_hidden()
    search(page, "nevus")
    page.reload()
    expect(page.get_by_role("img", name="Picture 1: picture, 64 by 48")).to_be_visible()
    expect(box(page)).to_have_value("nevus")


def test_notes_are_sentences() -> None:
    assert note_words("more images of the same patient, left out: 1") == (
        "1 more image of the same patient is not shown; the options under the box can show it."
    )
    assert note_words("taken as absent: effusion") == "Taken as absent: effusion."


def test_a_filter_reduces_counts_and_is_taken_away_by_its_chip(served: Served, page: Page) -> None:
    opened(page, served)
    search(page, QUERY)
    everything = ids(page)
    count = int(facet(page, "modality", "CT").locator(".count").inner_text())
    before = page.url
    facet(page, "modality", "CT").click()
    drawn(page, before)
    hits = api_hits(served, text=QUERY, filters={"modality": ["CT"]})
    assert ids(page) == [hit["image_id"] for hit in hits]
    # Other modalities stay to be chosen, and other columns tell what is left.
    assert facet(page, "modality", "CR").is_visible()
    told = page.get_by_role("group", name="body part").locator(".count").all_inner_texts()
    assert sum(map(int, told)) == count
    press(page, "Remove: modality: CT")
    assert ids(page) == everything
    expect(page.get_by_role("list", name="Active filters")).to_be_hidden()


def test_filters_alone_browse_and_chosen_images_are_one_chip(served: Served, page: Page) -> None:
    link = Link("demo", Asked(filters={"image_id": tuple(range(3, 33))}))
    token = served.service.links.keep("none:local", link)
    opened(page, served, f"/?s={token}")
    expect(page.get_by_text("30 chosen images", exact=False).first).to_be_visible()
    expect(page.locator(".summary")).to_have_text("30 images, those added last first: 1 to 20")
    assert ids(page) == list(range(32, 12, -1))
    press(page, "Next page")
    assert ids(page) == list(range(12, 2, -1))
    search(page, "melanoma")
    assert set(ids(page)) <= set(range(3, 33))


def test_one_hit_for_each_patient_and_pages_that_follow_each_other(served: Served, page: Page) -> None:
    opened(page, served)
    search(page, QUERY)
    options(page)
    before = page.url
    page.get_by_role("combobox", name="One hit for each").click()
    page.get_by_role("option", name="patient").click()
    page.get_by_role("button", name="Search", exact=True).click()
    drawn(page, before)
    hits = api_hits(served, text=QUERY, group_by="patient", top_k=40)
    assert ids(page) == [hit["image_id"] for hit in hits[:20]]
    expect(page.locator(".hit .about").first).to_contain_text("of the patient")
    press(page, "Next page")
    assert ids(page) == [hit["image_id"] for hit in hits[20:40]]
    page.reload()
    expect(page.locator(".hit .rank").first).to_have_text("21")
    press(page, "Previous page")
    assert ids(page) == [hit["image_id"] for hit in hits[:20]]


def test_hits_lead_on_and_the_trail_and_the_browser_lead_back(served: Served, page: Page) -> None:
    opened(page, served)
    search(page, QUERY)
    hits, first = ids(page), page.url
    press(page, "Similar to hit 2")
    assert ids(page) == [hit["image_id"] for hit in api_hits(served, like=[hits[1]])]
    expect(box(page)).to_have_value("")
    similar = page.url
    page.go_back()
    expect(box(page)).to_have_value(QUERY)
    assert (ids(page), page.url) == (hits, first)
    page.go_forward()
    expect(box(page)).to_have_value("")
    assert page.url == similar
    page.get_by_role("navigation", name="Searches before").get_by_role("link", name=QUERY).click()
    expect(box(page)).to_have_value(QUERY)
    assert page.url == first
    # The same user in another tab.
    other = page.context.new_page()
    opened(other, served, "/" + similar.rsplit("/", 1)[1])
    assert ids(other) == [hit["image_id"] for hit in api_hits(served, like=[hits[1]])]


def test_more_and_less_like_hits(served: Served, page: Page) -> None:
    opened(page, served)
    search(page, "chest radiograph")
    [liked, unliked, *_] = ids(page)
    expect(page.locator(".trail")).to_be_hidden()
    press(page, "More like hit 1")
    assert ids(page) == [hit["image_id"] for hit in api_hits(served, text="chest radiograph", like=[liked])]
    press(page, f"Remove: like image {liked}")
    press(page, "Less like hit 2")
    shown = ids(page)
    assert unliked not in shown
    hits = api_hits(served, text="chest radiograph", unlike=[unliked])
    assert shown == [hit["image_id"] for hit in hits]
    expect(page.get_by_text(f"not like image {unliked}").first).to_be_visible()


def test_ticked_hits_can_be_compared(served: Served, page: Page) -> None:
    opened(page, served)
    search(page, QUERY)
    hits = ids(page)
    for rank in (2, 5):
        page.get_by_role("checkbox", name=f"Compare hit {rank}", exact=True).check()
    bar = page.get_by_role("region", name="Compare")
    expect(bar).to_contain_text("Compare 2 of 4")
    expect(bar.get_by_role("link")).to_have_attribute(
        "href", f"/compare?gallery=demo&images={hits[1]},{hits[4]}&s={page.url.rsplit('=', 1)[1]}"
    )
    link = page.get_by_role("link", name=re.compile("^Hit 2:"))
    assert (link.get_attribute("href") or "").startswith(f"/case?gallery=demo&image={hits[1]}&s=")
    for rank in (6, 7):
        page.get_by_role("checkbox", name=f"Compare hit {rank}", exact=True).check()
    expect(page.get_by_role("checkbox", name="Compare hit 8", exact=True)).to_be_disabled()
    bar.get_by_role("button", name="Clear").click()
    expect(bar).to_be_hidden()


def test_what_cannot_be_answered_is_told_in_words(served: Served, page: Page) -> None:
    opened(page, served)
    box(page).fill("word " * 10_000)
    box(page).press("Enter")
    problem = page.locator(".results .problem")
    expect(problem).to_contain_text("Too large. The words are too many: give at most 2000 characters. (ref ")
    opened(page, served, "/?s=nobody-knows-this")
    expect(page.locator(".results .notice")).to_contain_text("no longer kept, or it is another user's")


def test_a_page_of_a_gallery_that_has_changed_offers_the_first_one(served: Served, page: Page) -> None:
    # A cursor as another version of the gallery would have given it.
    asked = Asked(text=QUERY)
    opened(page, served, f"/?s={served.service.links.keep('none:local', Link('demo', asked))}")
    press(page, "Next page")
    link = served.service.links.get("none:local", page.url.rsplit("=", 1)[1])
    note = json.loads(base64.urlsafe_b64decode(link.cursors[0] + "=="))
    expired = base64.urlsafe_b64encode(json.dumps(["of another version", *note[1:]]).encode()).decode()
    old = Link("demo", asked, cursors=(expired.rstrip("="),))
    opened(page, served, f"/?s={served.service.links.keep('none:local', old)}")
    expect(page.locator(".results .problem")).to_contain_text("The gallery has changed")
    press(page, "Show the first page")
    assert ids(page) == [hit["image_id"] for hit in api_hits(served, text=QUERY)]


def test_a_search_by_keyboard_alone(served: Served, page: Page) -> None:
    opened(page, served)
    expect(box(page)).to_be_focused()
    page.keyboard.type(QUERY)
    before = page.url
    page.keyboard.press("Enter")
    drawn(page, before)
    similar = page.get_by_role("button", name="Similar to hit 1", exact=True)
    [first, *_] = ids(page)
    for _ in range(120):
        page.keyboard.press("Tab")
        if similar.evaluate("one => one === document.activeElement"):
            break
    expect(similar).to_be_focused()
    before = page.url
    page.keyboard.press("Space")
    drawn(page, before)
    assert ids(page) == [hit["image_id"] for hit in api_hits(served, like=[first])]
    expect(page.locator(".summary")).to_be_focused()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with keys, of two pictures whose reports try to be scripts."""
    folder = tmp_path_factory.mktemp("hostile")
    archive = folder / "archive"
    archive.mkdir()
    reports = [
        "<script>window.bad = 1</script>",
        "<img src=x onerror='window.bad = 1'> ${window.bad = 1} {{7*7}}",
    ]
    with (archive / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "report", "modality"])
        for number, report in enumerate(reports):
            Image.linear_gradient("L").rotate(90 * number).save(archive / f"{number}.png")
            table.writerow([f"{number}.png", report, "<b>X</b>"])
    arguments = [str(folder / "g"), str(archive), "--metadata", str(archive / "metadata.csv")]
    with pytest.raises(SystemExit, match="0"):
        main(["index", *arguments, "--encoder", "demo"])
    with serving({"own": folder / "g"}, folder / "state", AccessSettings(keys=True)) as running:
        yield running


def test_reports_are_text_and_links_are_their_makers(hostile: Served, browser: Browser) -> None:
    def signed_in(name: str) -> Page:
        page = browser.new_context().new_page()
        page.set_default_timeout(30_000)
        page.goto(hostile.url)
        page.get_by_label("key").fill(hostile.key(name))
        page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).click()
        expect(page.locator(".summary")).not_to_have_text("Loading …")
        return page

    ann = signed_in("ann")
    expect(ann.locator(".top-bar .who")).to_contain_text("ann (reader)")
    search(ann, "nevus")
    told = " ".join(ann.locator(".hit .report").all_inner_texts())
    assert "<script>window.bad = 1</script>" in told
    assert "<img src=x onerror='window.bad = 1'> ${window.bad = 1} {{7*7}}" in told
    expect(ann.locator(".hit .about").first).to_contain_text("<b>X</b>")
    assert ann.evaluate("window.bad") is None

    bob = signed_in("bob")
    opened(bob, hostile, "/" + ann.url.rsplit("/", 1)[1])
    expect(bob.locator(".results .notice")).to_contain_text("it is another user's")
    assert ids(bob) == []
    bob.get_by_role("button", name="Sign out").click()
    expect(bob.get_by_label("key")).to_be_visible()
    for one in (ann, bob):
        one.context.close()
