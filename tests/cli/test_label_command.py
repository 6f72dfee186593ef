"""What a user of label and labels sees, on a small gallery of the demo's pictures."""

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command_line import NOTICES, Outcome, Run, one_error

from medsiglip_search.cli import main

IMAGES = 60
HEADER = ["of 60 images", "present", "absent", "abstain", "share", "mean probability"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    table = f"{out}/demo/archive/metadata.csv"
    for command in (
        ["demo", "--archive-only", "--out", f"{out}/demo", "--seed", "8", "--images", str(IMAGES)],
        ["index", f"{out}/gallery", f"{out}/demo/archive", "--encoder", "demo", "--metadata", table],
    ):
        with pytest.raises(SystemExit, match="0"):
            main(command)
    (out / "kinds.yaml").write_text(
        "mode: exclusive\nlabels: {CR: [chest radiograph], other: [histology tile]}\n"
    )
    return out


def told(outcome: Outcome) -> list[str]:
    return [line for line in outcome.err if not line.startswith(NOTICES)]


def test_the_summary_counts_every_label(run: Run, demo: Path) -> None:
    outcome = run("label", demo / "gallery", "demo-findings")
    assert outcome.code == 0
    assert len(outcome.out) == 28
    assert all(word in outcome.out[0] for word in HEADER)
    cells = outcome.out[1].split("  ")
    assert cells[0] == "pleural effusion"
    counts = [int(cell) for cell in outcome.out[1].split()[2:5]]
    assert sum(counts) == IMAGES
    assert told(outcome) == [
        "For the rows, a label of an image each, pass --out FILE.parquet or FILE.csv, or --json."
    ]


def test_parquet_csv_and_json_say_the_same(run: Run, demo: Path, tmp_path: Path) -> None:
    arguments = ("label", demo / "gallery", demo / "kinds.yaml")
    rows = run(*arguments, "--json").json
    assert len(rows) == 2 * IMAGES
    assert list(rows[0]) == ["image_id", "uri", "frame", "label", "score", "probability", "decision"]
    assert run(*arguments, "--out", tmp_path / "rows.parquet").code == 0
    assert run(*arguments, "--out", tmp_path / "rows.csv").code == 0
    parquet = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    with open(tmp_path / "rows.csv", newline="") as file:
        text = list(csv.DictReader(file))
    for row, stored, written in zip(rows, parquet, text, strict=True):
        assert {name: stored[name] for name in row} == pytest.approx(row, abs=1e-6)
        assert [written[name] for name in ("image_id", "uri", "label", "decision")] == [
            str(row[name]) for name in ("image_id", "uri", "label", "decision")
        ]
        assert float(written["probability"]) == pytest.approx(row["probability"], abs=1e-6)
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["probability"] + second["probability"] == pytest.approx(1, abs=1e-5)
        assert {first["decision"], second["decision"]} == {"present", "absent"}


def test_a_file_that_is_there_is_replaced_only_when_asked(run: Run, demo: Path, tmp_path: Path) -> None:
    arguments = ("label", demo / "gallery", demo / "kinds.yaml", "--out", tmp_path / "rows.csv")
    assert run(*arguments).code == 0
    again = run(*arguments)
    assert again.code == 2
    assert "there is a file already. Pass --overwrite" in one_error(again)
    assert run(*arguments, "--overwrite").code == 0


def test_studies_are_labelled_as_a_whole(run: Run, demo: Path) -> None:
    rows = run("label", demo / "gallery", demo / "kinds.yaml", "--group-by", "study", "--json").json
    assert sum(row["images"] for row in rows if row["label"] == "CR") == IMAGES
    assert len({row["study"] for row in rows}) == len(rows) / 2


def test_decisions_that_were_written_back_can_be_searched_by(run: Run, demo: Path) -> None:
    outcome = run("label", demo / "gallery", demo / "kinds.yaml", "--write-back")
    assert outcome.code == 0
    assert told(outcome)[-1].startswith("Stored as kinds. Next: medsiglip-search search")
    hits = run("search", demo / "gallery", "pneumothorax", "--where", "kinds = 'CR'", "--json", "--top-k", 50)
    assert len(hits.json) >= 10
    assert {hit["kinds"] for hit in hits.json} == {"CR"}
    assert run("verify", demo / "gallery").code == 0


def test_a_plot_is_drawn(run: Run, demo: Path, tmp_path: Path) -> None:
    assert run("label", demo / "gallery", "demo-findings", "--plot", tmp_path / "bars.svg").code == 0
    assert "pleural effusion" in (tmp_path / "bars.svg").read_text()
    wrong = run("label", demo / "gallery", "demo-findings", "--plot", tmp_path / "bars.pdf")
    assert "Name it *.png or *.svg" in one_error(wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-set"], "'no-such-set': no such label set; name a YAML file, or one of body-part"),
        (["none.yaml"], "none.yaml: cannot be read: no such file"),
        (
            ["demo-findings", "--where", "modality = 'XX'"],
            "no image fits the filter; change it or leave it out",
        ),
        (["demo-findings", "--pool", "max"], "--pool is about --group-by"),
        (["demo-findings", "--prefix", "x"], "--prefix is about --write-back"),
        (["demo-findings", "--write-back", "--group-by", "study"], "leave --group-by out"),
        (["demo-findings", "--out", "rows.txt"], "Name it *.parquet or *.csv"),
        (["demo-findings", "--calibration", "none.json"], "none.json: cannot be read"),
    ],
)
def test_mistakes_are_told_with_what_to_do(run: Run, demo: Path, arguments: list[str], message: str) -> None:
    outcome = run("label", demo / "gallery", *arguments)
    assert outcome.code == 2
    assert message in one_error(outcome)


def test_the_shipped_sets_are_listed_and_shown(run: Run, tmp_path: Path) -> None:
    listed = run("labels")
    assert listed.code == 0
    assert [line.split()[0] for line in listed.out[1:]] == sorted(line.split()[0] for line in listed.out[1:])
    assert {one["name"]: len(one["labels"]) for one in run("labels", "--json").json}["chexpert-13"] == 13
    shown = run("labels", "chexpert-13").out
    assert shown[0] == "chexpert-13: 13 labels, findings"
    assert "  present  apical pneumothorax" in shown
    assert "  absent   no pneumothorax" in shown
    own = tmp_path / "own.yaml"
    own.write_text("\n".join(run("labels", "chexpert-13", "--yaml").out))
    assert run("labels", own).out[1:] == shown[1:]
    own.write_text(own.read_text().replace("apical pneumothorax", "no pneumothorax"))
    assert "'no pneumothorax' is present and absent of 'Pneumothorax'" in one_error(run("labels", own))
    (said,) = run("labels", "diabetic-retinopathy-5", "--json").json
    assert said["labels"][0]["prompts"] == ["diabetic retinopathy severity: none."]
    assert "--yaml prints one set; name it" in one_error(run("labels", "--yaml"))
    assert "a probe, which has no prompts to show" in one_error(run("labels", tmp_path / "own.safetensors"))
