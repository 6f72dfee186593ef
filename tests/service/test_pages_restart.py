"""A page that stays open while its service ends and begins again."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from serving import serving

from medsiglip_search.service.access.authenticating import AccessSettings
from medsiglip_search.service.access.keys import KeyStore

WAIT_MS = 60_000


@pytest.mark.parametrize("needs_key", [False, True])
def test_a_page_comes_back_with_its_service(
    demo_gallery: Path, tmp_path: Path, page: Page, needs_key: bool
) -> None:
    state, access = tmp_path / "state", AccessSettings(keys=needs_key)
    state.mkdir(mode=0o700)
    _, key = KeyStore(state).add("anna", "reader", None, None)
    with serving({"demo": demo_gallery}, state, access) as served:
        page.goto(served.url)
        if needs_key:
            page.get_by_label("Your access key").fill(key)
            page.get_by_role("button", name="Sign in").click()
        expect(page.locator(".summary")).not_to_have_text("Loading …")
    box = page.get_by_label("Look for")
    box.fill("melanoma")
    box.press("Enter")
    expect(page.get_by_text("Connection to the server was lost").first).to_be_visible()
    port = int(served.url.rpartition(":")[2])
    with serving({"demo": demo_gallery}, state, access, port):
        if needs_key:  # sessions ended with the service
            page.get_by_label("Your access key").fill(key, timeout=WAIT_MS)
            page.get_by_role("button", name="Sign in").click()
        else:
            expect(box).to_have_value("", timeout=WAIT_MS)
        expect(page.locator(".summary")).not_to_have_text("Loading …")
        box.fill("melanoma")
        box.press("Enter")
        expect(page.locator(".hit").first).to_be_visible()
