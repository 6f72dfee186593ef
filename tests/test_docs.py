"""What the documentation names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = {
    path.name: set(re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE))
    for path in (ROOT / "tests").rglob("test_*.py")
}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_test_that_the_table_of_inputs_names_exists() -> None:
    table = (ROOT / "docs" / "inputs.md").read_text("utf-8")
    named = 0
    for cell in re.findall(r"^\| \d+ \|.*\| (.*) \|$", table, re.MULTILINE):
        module = ""
        for name in re.findall(r"`(test_\w+(?:\.py)?)`", cell):
            if name.endswith(".py"):
                module = name
                assert module in TESTS
            else:
                assert name in TESTS[module], f"{module} has no {name}"
            named += 1
    assert named > 19


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
