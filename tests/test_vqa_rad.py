"""Labels of real pictures by an encoder that knows drawn ones: whatever comes out, it is reported."""

import csv
import json
from pathlib import Path

import pytest

from medsiglip_search.cli import main

ARCHIVE = Path(__file__).parents[2] / "shared" / "archives" / "vqa-rad"
ORGANS = """\
mode: exclusive
labels:
  chest: [chest radiograph, CT of the chest, lungs and heart]
  abd: [abdominal CT, liver and kidneys, bowel]
  head: [head CT, MRI of the brain, skull and brain]
"""

pytestmark = pytest.mark.skipif(not ARCHIVE.is_dir(), reason="the archive is not at hand")


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    assert exit_.value.code == 0, arguments


def test_prompts_and_a_probe_are_evaluated_on_organs(tmp_path: Path) -> None:
    gallery, truth, probe = tmp_path / "gallery", tmp_path / "truth.csv", tmp_path / "organ.safetensors"
    with open(ARCHIVE / "labels.csv", newline="") as source, open(truth, "w", newline="") as out:
        csv.writer(out).writerows(
            [("path", "organ"), *((row["image"], row["organ"]) for row in csv.DictReader(source))]
        )
    (tmp_path / "organs.yaml").write_text(ORGANS)
    run("index", gallery, ARCHIVE / "images", "--encoder", "demo")
    run("probe", gallery, truth, "--column", "organ", "--out", probe)
    run(
        *("evaluate", gallery, truth, "--labels", tmp_path / "organs.yaml", "--labels", probe),
        *("--column", "organ", "--out", tmp_path / "report", "--resamples", 100),
    )
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
    told = {
        (row["labels"], row["label"]): row["auc"]["value"]
        for row in report["figures"]
        if row["what"] == "labels" and row["label"] is not None
    }
    assert len(told) == 6
    assert {label for _, label in told} == {"chest", "abd", "head"}
    assert all(0 <= value <= 1 for value in told.values())
