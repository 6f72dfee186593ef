"""What a person sees when a page cannot do what it was asked for."""

import pytest
from playwright.sync_api import Locator, Page, expect
from serving import Served
from viewing import at_rest, options


def alert(page: Page) -> Locator:
    return page.locator(".page-problem")


def test_what_goes_wrong_is_told_until_it_is_put_right(served: Served, page: Page) -> None:
    page.goto(f"{served.url}/label")
    expect(page.locator("#fitting")).to_contain_text("images: the whole gallery")
    page.get_by_role("button", name="Which images").click()
    condition = at_rest(page.get_by_label("SQL condition"))
    condition.fill("yeer > 2000")
    condition.press("Enter")
    expect(alert(page)).to_contain_text("Cannot be answered as it stands.")
    expect(alert(page)).to_contain_text("(ref ")
    expect(alert(page).get_by_role("button", name="Load the page again")).to_be_hidden()
    condition.fill("year > 2000")
    condition.press("Enter")
    expect(page.locator("#fitting")).to_contain_text("fit the filter")
    expect(alert(page)).to_be_hidden()


def test_a_number_out_of_all_bounds_is_no_fault_of_the_page(served: Served, page: Page) -> None:
    page.goto(served.url)
    expect(page.locator(".summary")).not_to_have_text("Loading …")
    options(page)
    page.get_by_label("Relevance from").fill("500")
    page.get_by_label("Look for").fill("melanoma")
    page.get_by_label("Look for").press("Enter")
    expect(page.locator(".summary")).to_contain_text("No ")
    expect(alert(page)).to_be_hidden()


@pytest.mark.parametrize("path", ["/", "/map", "/label"])
def test_whose_key_was_revoked_is_led_to_where_one_signs_in(guarded: Served, page: Page, path: str) -> None:
    key = guarded.key("goes", "labeller")
    page.goto(guarded.url + path)
    page.get_by_label("Your access key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".top-bar .who")).to_contain_text("goes")
    if path == "/label":  # which asks once more before it can be used
        expect(page.locator("#fitting")).to_contain_text("images: the whole gallery")
    guarded.revoke(key)
    match path:
        case "/":
            at_rest(page.get_by_label("Look for")).fill("melanoma")
            page.get_by_label("Look for").press("Enter")
        case "/map":
            page.get_by_role("button", name="Choose by numbers").click()
            page.get_by_role("button", name="Choose what lies between").click()
        case "/label":
            page.get_by_role("button", name="Label", exact=True).click()
    expect(alert(page)).to_contain_text("Sign in first.")
    alert(page).get_by_role("button", name="Load the page again").click()
    expect(page.get_by_label("Your access key")).to_be_visible()


def test_many_tabs_leave_the_browser_connections(served: Served, page: Page) -> None:
    others = [page.context.new_page() for _ in range(7)]
    for tab in (*others, page):
        tab.goto(served.url)
        expect(tab.locator(".summary")).not_to_have_text("Loading …")
    for tab in (others[0], page):
        tab.get_by_label("Look for").fill("melanoma")
        tab.get_by_label("Look for").press("Enter")
        expect(tab.locator(".hit").first).to_be_visible()
