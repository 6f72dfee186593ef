"""Signing in with a browser, and being refused."""

from pathlib import Path

import pytest
from oidc_provider import CLIENT_ID, CLIENT_SECRET, Manner, provider
from playwright.sync_api import Page, expect
from serving import Served, serving

from medsiglip_search.service.access.authenticating import AccessSettings
from medsiglip_search.service.access.oidc import OidcSettings
from medsiglip_search.service.audit import records


def test_a_key_opens_the_page_that_was_asked_for(guarded: Served, page: Page) -> None:
    key = guarded.key("a reader")
    page.goto(f"{guarded.url}/map?gallery=other")
    expect(page).to_have_title("Sign in · medsiglip-search")
    assert page.locator("script").count() == 0
    page.get_by_label("Your access key").fill("msk_00000000_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("key")
    page.get_by_label("Your access key").fill(key)
    page.keyboard.press("Enter")
    expect(page.locator("canvas")).to_be_visible()
    assert page.url == f"{guarded.url}/map?gallery=other"
    [cookie] = page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    assert key not in str(cookie)


def test_signing_out_ends_the_session(guarded: Served, page: Page) -> None:
    page.goto(guarded.url)
    page.get_by_label("Your access key").fill(guarded.key("leaves"))
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Your access key")).to_be_visible()
    page.goto(guarded.url)
    expect(page.get_by_label("Your access key")).to_be_visible()


def test_a_key_that_is_revoked_ends_its_sessions(guarded: Served, page: Page) -> None:
    key = guarded.key("is revoked")
    page.goto(guarded.url)
    page.get_by_label("Your access key").fill(key)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Look for")).to_be_visible()
    guarded.revoke(key)
    page.reload()
    expect(page.get_by_label("Your access key")).to_be_visible()


def test_a_place_on_another_site_is_not_gone_to_after_signing_in(guarded: Served) -> None:
    key = guarded.key("is sent away")
    with guarded.client() as client:
        for place in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
            answer = client.post("/login", data={"key": key, "next": place}, headers={"origin": guarded.url})
            assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.fixture
def manner() -> Manner:
    return Manner()


def test_somebody_of_the_organisation_signs_in_and_is_in_the_audit(
    demo_gallery: Path, tmp_path: Path, page: Page, manner: Manner
) -> None:
    state = tmp_path / "state"
    with provider(manner) as issuer:
        oidc = OidcSettings(issuer, CLIENT_ID, CLIENT_SECRET, default_role="reader")
        with serving({"demo": demo_gallery}, state, AccessSettings(oidc=oidc)) as running:
            page.goto(running.url)
            assert page.get_by_label("Your access key").count() == 0
            page.get_by_role("link", name="Sign in with your organisation").click()
            expect(page.get_by_label("Look for")).to_be_visible()
            who = page.evaluate("fetch('/v1').then(answer => answer.json())")
    assert who["role"] == "reader"
    [login] = records(state, action="login")
    assert (login.who, login.outcome) == (who["name"], "done")


def test_a_login_that_the_provider_forged_is_refused_in_words(
    demo_gallery: Path, tmp_path: Path, page: Page, manner: Manner
) -> None:
    state = tmp_path / "state"
    with provider(manner) as issuer:
        oidc = OidcSettings(issuer, CLIENT_ID, CLIENT_SECRET, roles={"ward": "reader"})
        with serving({"demo": demo_gallery}, state, AccessSettings(oidc=oidc)) as running:
            page.goto(running.url)
            page.get_by_role("link", name="Sign in with your organisation").click()
            expect(page.get_by_role("alert")).to_contain_text("role")
            page.goto(running.url)
            expect(page).to_have_title("Sign in · medsiglip-search")
    assert [login.outcome for login in records(state, action="login")] == ["refused"]
