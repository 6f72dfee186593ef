"""What users of calibrate and probe see, on a small gallery of the demo's pictures."""

import csv
import json
from pathlib import Path

import pytest
from command_line import NOTICES, Outcome, Run, one_error

from medsiglip_search.cli import main

IMAGES = 150
CHEST = """\
mode: findings
labels:
  chest: {present: [chest radiograph, frontal chest film], absent: [head CT, fundus photograph, dermoscopy]}
  head: {present: [head CT, brain CT slice], absent: [chest radiograph, histology tile, dermoscopy]}
"""
KINDS = "mode: exclusive\nlabels: {CR: [chest radiograph], CT: [head CT], OP: [fundus photograph]}\n"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a synthetic archive, its gallery, label sets, and a table of which kind pictures are."""
    out = tmp_path_factory.mktemp("demo")
    for command in (
        ["demo", "--archive-only", "--out", f"{out}/demo", "--seed", "6", "--images", str(IMAGES)],
        ["index", f"{out}/gallery", f"{out}/demo/archive", "--encoder", "demo"],
    ):
        with pytest.raises(SystemExit, match="0"):
            main(command)
    (out / "chest.yaml").write_text(CHEST)
    (out / "kinds.yaml").write_text(KINDS)
    with (
        open(out / "demo" / "archive" / "metadata.csv", newline="") as metadata,
        open(out / "kinds.csv", "w", newline="") as kinds,
    ):
        table = csv.writer(kinds)
        table.writerow(["path", "patient", "chest", "head", "kind"])
        for row in csv.DictReader(metadata):
            code = row["modality"]
            kind = code if code in ("CR", "CT", "OP") else ""
            table.writerow([row["path"], row["patient"], int(code == "CR"), int(code == "CT"), kind])
    return out


def told(outcome: Outcome) -> list[str]:
    return [line for line in outcome.err if not line.startswith(NOTICES)]


def test_a_calibration_is_written_beside_its_label_set_and_used_by_label(run: Run, demo: Path) -> None:
    outcome = run("calibrate", demo / "gallery", demo / "chest.yaml", demo / "kinds.csv", "--abstain", 0.9)
    assert outcome.code == 0
    assert [line.split()[0] for line in outcome.out] == ["label", "chest", "head", "all"]
    written = demo / "chest.calibration.json"
    (said,) = told(outcome)
    assert said.startswith(f"Written to {written}. Next: medsiglip-search label {demo}/gallery {demo}/chest")
    assert said.endswith(f"--calibration {written}")
    rows = run("label", demo / "gallery", demo / "chest.yaml", "--calibration", written, "--json").json
    assert len(rows) == 2 * IMAGES
    assert all(0 <= row["calibrated"] <= 1 for row in rows)
    again = run("calibrate", demo / "gallery", demo / "chest.yaml", demo / "kinds.csv")
    assert (
        one_error(again)
        == f"{written}: there is a file already. Pass --overwrite, or --out with another name"
    )


def test_checks_are_json_for_programs(run: Run, demo: Path, tmp_path: Path) -> None:
    arguments = ("calibrate", demo / "gallery", demo / "kinds.yaml", demo / "kinds.csv")
    outcome = run(*arguments, "--out", tmp_path / "k.json", "--json")
    (check,) = outcome.json
    assert check["label"] == "all"
    assert 60 < check["images"] < IMAGES
    assert check["right"] > 0.95
    assert json.loads((tmp_path / "k.json").read_text())["mode"] == "exclusive"


def test_a_calibration_of_another_set_is_refused(run: Run, demo: Path, tmp_path: Path) -> None:
    written = tmp_path / "k.json"
    run("calibrate", demo / "gallery", demo / "kinds.yaml", demo / "kinds.csv", "--out", written)
    outcome = run("label", demo / "gallery", demo / "chest.yaml", "--calibration", written)
    assert outcome.code == 2
    assert "made for labels of mode exclusive, and chest has the mode findings" in one_error(outcome)


def test_too_few_images_are_refused_with_the_number_needed(run: Run, demo: Path, tmp_path: Path) -> None:
    arguments = ("calibrate", demo / "gallery", demo / "chest.yaml", demo / "kinds.csv")
    outcome = run(*arguments, "--sensitivity", 0.99, "--out", tmp_path / "new.json")
    assert outcome.code == 2
    assert "needed are 99 with and 10 without" in one_error(outcome)


def test_a_probe_is_used_wherever_a_label_set_is(run: Run, demo: Path, tmp_path: Path) -> None:
    probe = tmp_path / "own.safetensors"
    outcome = run("probe", demo / "gallery", demo / "kinds.csv", "--out", probe, "--shots", 8, "--json")
    assert outcome.code == 0
    assert [(row["label"], row["auc"]) for row in outcome.json] == [("chest", 1.0), ("head", 1.0)]
    assert told(outcome)[0].startswith("Trained on ")
    labelled = run("label", demo / "gallery", probe, "--json").json
    assert {row["label"] for row in labelled} == {"chest", "head"}
    written = tmp_path / "own.calibration.json"
    assert run("calibrate", demo / "gallery", probe, demo / "kinds.csv").code == 0
    assert run("label", demo / "gallery", probe, "--calibration", written).code == 0
    assert one_error(run("probe", demo / "gallery", demo / "kinds.csv", "--out", probe)).startswith(
        f"{probe}: there is"
    )


def test_a_probe_of_exclusive_labels_and_of_chosen_columns(run: Run, demo: Path, tmp_path: Path) -> None:
    arguments = ("probe", demo / "gallery", demo / "kinds.csv", "--json")
    kinds = run(*arguments, "--out", tmp_path / "kinds.safetensors", "--column", "kind")
    assert [row["label"] for row in kinds.json] == ["CR", "CT", "OP"]
    head = run(*arguments, "--out", tmp_path / "head.safetensors", "--label", "Head")
    assert [row["label"] for row in head.json] == ["Head"]


def test_mistakes_of_probe_are_told(run: Run, demo: Path, tmp_path: Path) -> None:
    arguments = ("probe", demo / "gallery", demo / "kinds.csv", "--out")
    assert "Name it *.safetensors" in one_error(run(*arguments, tmp_path / "own.pt"))
    both = run(*arguments, tmp_path / "own.safetensors", "--label", "chest", "--column", "kind")
    assert "leave one out" in one_error(both)
    missing = run(*arguments, tmp_path / "own.safetensors", "--label", "chest", "--label", "knee")
    assert "no column 'knee'" in one_error(missing)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"none")
    outcome = run("label", demo / "gallery", damaged)
    assert outcome.code == 2
    assert one_error(outcome) == f"{damaged}: holds no probe. Name the file that probe wrote"


def test_figures_on_what_was_fitted_are_warned_of(run: Run, demo: Path, tmp_path: Path) -> None:
    probe, calibration = tmp_path / "own.safetensors", tmp_path / "chest.json"
    run("probe", demo / "gallery", demo / "kinds.csv", "--out", probe)
    run("calibrate", demo / "gallery", demo / "chest.yaml", demo / "kinds.csv", "--out", calibration)
    labels = ("--labels", probe, "--labels", demo / "chest.yaml", "--calibration", calibration)
    arguments = ("--no-retrieval", "--resamples", 20)
    outcome = run("evaluate", demo / "gallery", demo / "kinds.csv", *labels, *arguments)
    assert outcome.code == 0
    warned = [line for line in outcome.err if "on this very table" in line]
    assert [line.split(" on this")[0] for line in warned] == [
        "Warning: own was trained",
        "Warning: chest was calibrated",
    ]
    other = tmp_path / "other.csv"
    other.write_text((demo / "kinds.csv").read_text() + "\n")
    outcome = run("evaluate", demo / "gallery", other, *labels, *arguments)
    assert not any("on this very table" in line for line in outcome.err)
