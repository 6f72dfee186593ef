"""One open service of the synthetic archive for all tests that only ask it, and a browser to look at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from serving import Served, serving

from medsiglip_search.service.access.authenticating import AccessSettings

HIDDEN = frozenset({"uri"})
CHROMIUM = "/usr/bin/chromium"
ARTEFACTS = Path(__file__).parents[2] / "test-artefacts"


@pytest.fixture(scope="session")
def served(demo_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    state = tmp_path_factory.mktemp("service") / "state"
    archives = {"scans": str(demo_gallery.parent / "archive")}
    with serving({"demo": demo_gallery}, state, archives=archives, explainer="demo") as running:
        yield running


@pytest.fixture(scope="session")
def guarded(demo_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that asks for keys; it has the same gallery under two names."""
    state = tmp_path_factory.mktemp("guarded") / "state"
    galleries = {"demo": demo_gallery, "other": demo_gallery}
    with serving(galleries, state, AccessSettings(keys=True), archives={}, hidden=HIDDEN) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of one module: while it runs, so does an event loop in the tests' thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window of 1440 x 900 that fails the test for an error in a script of the page."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    window = context.new_page()
    errors: list[str] = []
    window.on("pageerror", lambda error: errors.append(str(error)))
    window.set_default_timeout(30_000)
    yield window
    context.close()
    assert errors == []


@pytest.fixture
def artefacts() -> Path:
    """The folder in which tests leave pictures to be looked at."""
    ARTEFACTS.mkdir(exist_ok=True)
    return ARTEFACTS
