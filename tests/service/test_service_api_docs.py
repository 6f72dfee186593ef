"""docs/api.md does what it says: its examples run against a real service, with its key, address and files."""

import csv
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Served, serving

from medsiglip_search.service import problems
from medsiglip_search.service.access.authenticating import AccessSettings

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
WRITTEN_URL = "http://localhost:7860"
WRITTEN_KEY = "msk_3f9a0c1e_..."
END = "\x1e"


@pytest.fixture(scope="module")
def ward(demo_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that asks for keys, with a gallery of its own to index into."""
    folder = tmp_path_factory.mktemp("documented")
    shutil.copytree(demo_gallery, folder / "gallery")
    archives = {"scans": str(demo_gallery.parent / "archive")}
    with serving(
        {"demo": folder / "gallery"}, folder / "state", AccessSettings(keys=True), archives=archives
    ) as running:
        yield running


@pytest.fixture
def desk(demo_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is worked in, with the files that the examples name."""
    shutil.copy(next(demo_archive.rglob("*.dcm")), tmp_path / "case.dcm")
    shutil.copy(demo_archive.parent / "truth.csv", tmp_path / "truth.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_like(shown: Any, real: Any) -> bool:
    """Tell whether an answer has all that is shown of it, in the same places and of the same kinds."""
    if isinstance(shown, dict):
        return isinstance(real, dict) and all(
            name in real and is_like(one, real[name]) for name, one in shown.items()
        )
    if isinstance(shown, list):
        return isinstance(real, list) and (not shown or (bool(real) and is_like(shown[0], real[0])))
    return type(shown) is type(real)


def images_in(path: Path) -> set[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["image_id"] for row in csv.DictReader(file)}


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("jq"), reason="needs curl and jq")
def test_the_examples_with_curl(ward: Served, desk: Path) -> None:
    written = [(place, text) for place, (kind, text) in enumerate(BLOCKS) if kind == "sh"]
    assert len(written) > 12
    program = "".join(f"{text}\nprintf '{END}'\n" for _, text in written)
    assert program.count(WRITTEN_URL) == program.count(WRITTEN_KEY) == 1
    program = program.replace(WRITTEN_URL, ward.url).replace(WRITTEN_KEY, ward.key("tool", "admin"))
    run = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "NO_PROXY": "*"},
    )
    outputs = run.stdout.split(END)
    assert run.returncode == 0, f"block {len(outputs)}: {outputs[-1]} {run.stderr}"
    told = dict(zip((place for place, _ in written), outputs, strict=False))
    compared = 0
    for place, output in told.items():
        if BLOCKS[place + 1][0] == "json":
            shown = json.loads(BLOCKS[place + 1][1])
            assert is_like(shown, json.loads(output)), f"{BLOCKS[place][1]}\n{output}"
            compared += 1
    assert compared == sum(kind == "json" for kind, _ in BLOCKS)
    [explained] = [told[place] for place, text in written if "/explanations" in text]
    kinds = re.findall(r"^event: (\w+)$", explained, re.MULTILINE)
    assert (kinds[0], set(kinds[1:-1]), kinds[-1]) == ("hits", {"piece"}, "explanation")
    [refused] = [told[place] for place, text in written if "modalty" in text]
    assert json.loads(refused)["type"] == "urn:medsiglip-search:problem:invalid-query"
    assert (desk / "small.jpg").read_bytes().startswith(b"\xff\xd8")
    assert (desk / "full.png").read_bytes().startswith(b"\x89PNG")
    assert (desk / "heat.png").read_bytes().startswith(b"\x89PNG")
    assert len(images_in(desk / "labels.csv")) == 90
    assert (desk / "labels.parquet").read_bytes().startswith(b"PAR1")


def test_the_examples_in_python(
    ward: Served, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDSIGLIP_KEY", ward.key("tool", "labeller"))
    program = "\n".join(text for kind, text in BLOCKS if kind == "python")
    assert program.count(WRITTEN_URL) == 1
    names: dict[str, Any] = {}
    exec(compile(program.replace(WRITTEN_URL, ward.url), "docs/api.md", "exec"), names)
    assert [hit["modality"] for hit in names["result"].hits] == ["CR"] * 5
    assert len(names["similar"].hits) > 1
    assert len(names["every_study"]) > 10
    assert names["job"].state == "done"
    assert len(images_in(desk / "labels.csv")) == names["job"].summary["count"] > 10
    printed = capsys.readouterr().out
    assert "['demo']" in printed
    assert "422 invalid-query" in printed
    assert names["event"].kind == "explanation"


def test_the_codes_of_problems_are_those_that_there_are() -> None:
    rows = re.findall(r"^\| (\d+) \| `([\w-]+)(?::REASON)?` \| ([^|;]+?)(?:;[^|]*)? \|$", TEXT, re.MULTILINE)
    told = {(int(status), code, title) for status, code, title in rows}
    assert len(told) == len(rows)
    there = {(problem.status, problem.code, problem.title) for problem in problems.listed()}
    assert told == there | {(405, "method-not-allowed", "Not this method")}
