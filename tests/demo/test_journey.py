"""The quick start as a newcomer runs it: the real command, in a process that must not reach the network."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from medsiglip_search.encoders import DEMO_FOLDER
from medsiglip_search.gallery import Gallery
from medsiglip_search.search import Searcher

SCRIPT = Path(sys.executable).parent / "medsiglip-search"
UNSEEN_SEED, IMAGES = 404, 240

NO_NETWORK = """
import socket

def refuse(self, address):
    raise OSError(f"this test allows no connection, and one to {address} was tried")

socket.socket.connect = socket.socket.connect_ex = refuse
"""


def demo(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    out.parent.mkdir(exist_ok=True)
    (out.parent / "sitecustomize.py").write_text(NO_NETWORK)
    environment = os.environ | {"PYTHONPATH": str(out.parent)}
    command = [SCRIPT, "demo", "--out", out, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journey") / "out"


@pytest.fixture(scope="module")
def figures(out: Path) -> dict[str, object]:
    run = demo(out, "--seed", str(UNSEEN_SEED), "--images", str(IMAGES), "--json")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_encoder_reaches_its_targets_on_a_seed_it_never_saw(figures: dict[str, float]):
    assert figures["images"] == IMAGES
    assert figures["label_top1"] >= 0.95
    assert figures["text_p10"] >= 0.95
    assert figures["image_p10"] >= 0.90
    assert figures["side_top1"] >= 0.98


def test_pictures_are_embedded_and_broken_files_rejected_with_reasons(figures: dict):
    assert figures["indexed"]["embedded"] == IMAGES
    assert figures["indexed"]["rejected"] == {
        "blank_image": 1,
        "non_image_dicom": 1,
        "not_an_image": 2,
        "truncated": 2,
    }


def test_the_explanation_counts_the_finding_asked_for_first(figures: dict):
    explanation = figures["explanation"]
    assert explanation["findings"][0]["finding"] == "left pleural effusion"
    assert explanation["explainer"] == "demo"
    assert explanation["state"] == "done"
    assert explanation["summary"] == "Described in all of hit 1 and hit 2: left pleural effusion."
    assert explanation["evidence"].startswith("The best of 2 hits")


def test_the_contact_sheet_shows_right_hits_framed_green(figures: dict[str, str]):
    sheet = np.asarray(Image.open(figures["contact_sheet"]).convert("RGB"))
    green = (sheet == (0x1A, 0x7F, 0x37)).all(axis=2).sum()
    assert green > 12 * 4 * 168  # the frames of most of twelve hits, some pixels wide


def test_negations_find_pictures_without_the_finding(figures: dict[str, str]):
    searcher = Searcher.open(figures["gallery"])
    hits = searcher.search(text="no pneumothorax", where="modality = 'CR'", top_k=10)
    assert not any("pneumothorax" in str(hit.instance.sidecar["findings"]) for hit in hits)


def test_a_second_run_draws_and_embeds_nothing_anew(figures: dict[str, str], out: Path):
    before = {path: path.stat().st_mtime_ns for path in Path(figures["archive"]).rglob("*")}
    version = Gallery.open(figures["gallery"]).version
    run = demo(out, "--seed", str(UNSEEN_SEED), "--images", str(IMAGES))
    assert run.returncode == 0, run.stderr
    assert before == {path: path.stat().st_mtime_ns for path in Path(figures["archive"]).rglob("*")}
    assert Gallery.open(figures["gallery"]).version == version
    assert 'Search by text: "left pleural effusion"' in run.stdout
    assert run.stdout.splitlines()[-4].startswith("Next: ")
    assert "evaluate" in run.stdout.splitlines()[-1]
    assert "knows synthetic pictures only" in run.stderr


def test_another_seed_replaces_the_archive(tmp_path: Path):
    out = tmp_path / "run" / "out"
    assert demo(out, "--seed", "1", "--images", "4", "--archive-only").returncode == 0
    first = (out / "archive" / "metadata.csv").read_text()
    assert demo(out, "--seed", "2", "--images", "4", "--archive-only").returncode == 0
    assert (out / "archive" / "metadata.csv").read_text() != first


def test_an_archive_of_one_picture_leaves_open_what_it_cannot_tell(tmp_path: Path):
    run = demo(tmp_path / "run" / "out", "--images", "1", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["image_p10"] is None


def test_a_demo_killed_while_drawing_leaves_no_process_and_begins_anew(tmp_path: Path):
    out = tmp_path / "out"
    killed = subprocess.Popen([SCRIPT, "demo", "--out", out, "--images", "5000"], stderr=subprocess.PIPE)
    while not list(out.glob("archive/P*")):
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    assert killed.stderr is not None
    killed.stderr.read()  # ends when the last process that holds it does
    again = demo(out, "--images", "4", "--archive-only")
    assert again.returncode == 0, again.stderr
    table = (out / "archive" / "metadata.csv").read_text().splitlines()[1:]
    assert {line.split("/")[0] for line in table} == {path.name for path in out.glob("archive/P*")}


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path):
    out = tmp_path / "run" / "out"
    out.mkdir(parents=True)
    (out / "thesis.txt").write_text("years of work")
    run = demo(out)
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert "--out" in run.stderr
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_the_shipped_weights_keep_their_bounds():
    weights = DEMO_FOLDER / "model.safetensors"
    assert weights.stat().st_size <= 12_000_000
    with safe_open(weights, framework="np") as file:
        shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118 - not a dictionary
        assert {str(file.get_slice(key).get_dtype()) for key in file.keys()} == {"F16"}  # noqa: SIM118
    assert sum(int(np.prod(shape)) for shape in shapes) <= 6_000_000
