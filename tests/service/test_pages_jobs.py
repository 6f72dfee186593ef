"""The page of jobs: runs begun, seen after a reload, cancelled, and their files."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from index_processes import index_processes
from playwright.sync_api import Page, expect
from serving import Served, serving

from medsiglip_search.cli import main

LONG_S = 120.0


@pytest.fixture(scope="module")
def writable(demo_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with a copy of the gallery, which its tests may change."""
    folder = tmp_path_factory.mktemp("writable")
    shutil.copytree(demo_gallery, folder / "gallery")
    archives = {"scans": str(demo_gallery.parent / "archive")}
    with serving({"demo": folder / "gallery"}, folder / "state", archives=archives) as running:
        yield running


def opened(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/jobs")
    expect(page.get_by_role("checkbox", name="scans")).to_be_checked(timeout=LONG_S * 1000)


def indexing_process() -> int:
    until = time.monotonic() + LONG_S
    while not (found := index_processes()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found[0]


def test_an_index_run_survives_a_reload_and_is_cancelled(
    writable: Served, page: Page, artefacts: Path
) -> None:
    opened(page, writable)
    page.get_by_role("button", name="Index", exact=True).click()
    process = indexing_process()
    # Held where it is, so that it cannot be through before it is told to end.
    os.kill(process, signal.SIGSTOP)
    try:
        [job] = writable.service.jobs.jobs()
        card = page.locator(f"li[data-job='{job.id}']")
        expect(card).to_contain_text("running")
        page.reload()
        expect(card).to_contain_text("running")
        expect(card.get_by_role("progressbar")).to_be_visible()
        for width in (1440, 800):
            page.set_viewport_size({"width": width, "height": 900})
            page.screenshot(path=artefacts / f"jobs-{width}.png", full_page=True)
        page.once("dialog", lambda dialog: dialog.dismiss())
        card.get_by_role("button", name="Cancel").click()
        assert not writable.service.jobs.job(job.id).has_ended
        page.once("dialog", lambda dialog: dialog.accept())
        card.get_by_role("button", name="Cancel").click()
        expect(card.locator(".state")).to_have_text("ending …")
        expect(card.get_by_role("button", name="Cancel")).to_have_count(0)
    finally:
        os.kill(process, signal.SIGCONT)
    expect(card.locator(".state")).to_have_text("cancelled", timeout=LONG_S * 1000)
    with pytest.raises(SystemExit, match="0"):
        main(["verify", str(writable.service.settings.galleries["demo"])])


def test_an_evaluation_is_begun_and_its_figures_are_shown(
    writable: Served, page: Page, tmp_path: Path
) -> None:
    gallery = writable.service.galleries["demo"].view.gallery
    images = gallery.instances(gallery.select("modality = 'CR'"))
    rows = [f"{one.uri},{number % 2}" for number, one in enumerate(images)]
    (tmp_path / "truth.csv").write_text("\n".join(["path,pleural effusion", *rows]) + "\n")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    opened(page, writable)
    form = page.locator("form.evaluation")
    form.get_by_label("Truth table").set_input_files(tmp_path / "picture.csv")
    form.get_by_label("Search, too").uncheck()
    form.get_by_label("chexpert-13").check()
    form.get_by_role("button", name="Evaluate").click()
    expect(form.locator(".problem")).to_contain_text("The table is not UTF-8 text; save it as CSV in UTF-8.")
    form.get_by_label("Truth table").set_input_files(tmp_path / "truth.csv")
    form.get_by_role("button", name="Evaluate").click()
    card = page.locator(".jobs li").first
    expect(card.locator(".state")).to_have_text("done", timeout=LONG_S * 1000)
    expect(card).to_contain_text("Evaluate")
    card.get_by_text("Results").click()
    [auc] = [
        row["auc"]["value"]
        for row in writable.service.jobs.jobs()[0].summary["figures"]
        if row["what"] == "labels"
    ]
    expect(card.locator("div", has_text="labels: auc").locator("dd")).to_contain_text(f"{auc:.3f}")
    with page.expect_download() as download:
        card.get_by_role("link", name="report.html").click()
    assert download.value.path().read_text().startswith("<!")
    assert page.url == f"{writable.url}/jobs"


def test_rejected_files_are_listed_with_their_reasons(writable: Served, page: Page) -> None:
    counts = {}
    for one in writable.service.galleries["demo"].view.gallery.rejected():
        counts[one.reason.value] = counts.get(one.reason.value, 0) + 1
    opened(page, writable)
    page.get_by_role("button", name="Rejected files").click()
    expected = sum(counts.values())
    rejected = page.locator("#rejected")
    expect(rejected).to_contain_text(f"of {expected}" if expected else "Nothing is rejected")
    expect(rejected.locator("tbody tr")).to_have_count(min(50, expected))
