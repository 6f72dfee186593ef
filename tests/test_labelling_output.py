"""Files of labels: what is in them, and that a run which was killed goes on."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from labelled import calibration, classifier, expected, random_gallery, random_labeller
from labelling_child import SMALL_PARTS

from medsiglip_search.errors import UnusableFile
from medsiglip_search.gallery import Gallery
from medsiglip_search.labelling import output
from medsiglip_search.labelling.output import KEY, Written, write
from medsiglip_search.labelling.parts import Parts, parts_of
from medsiglip_search.labelling.rows import json_rows
from medsiglip_search.labelling.summary import Summary, draw
from medsiglip_search.labelling.task import Task
from medsiglip_search.labels.calibration import FindingCalibration
from medsiglip_search.labels.labeller import Labeller

COUNT = 9000
"""Images, in five blocks."""


def written(task, path, **options):
    summary = Summary(task.labels)
    return write(task, path, summary, **options), summary


@pytest.fixture
def few(tmp_path):
    fitted = calibration(
        {"nodule; left": FindingCalibration(1, 0, 0.5, present_from=0.9, absent_below=0.1)}, abstain_level=0.9
    )
    labeller = Labeller(classifier([[1, 0], [0, 1]], ['a "b", c', "nodule; left"]), fitted)
    gallery = random_gallery(tmp_path / "g", 3, dim=2)
    return Task(gallery, labeller)


def rows_by_hand(task):
    ids, scores = expected(task.gallery, task.labeller)
    labelled = task.labeller.label(task.gallery.embeddings_of(ids))
    for n, image_id in enumerate(ids):
        for m, label in enumerate(task.labels):
            calibrated = float(labelled.calibrated[n, m])
            yield {
                "image_id": int(image_id),
                "archive": "/data/archive",
                "uri": f'{n} "a", b.png',
                "frame": 0,
                "label": label,
                "score": pytest.approx(scores[n, m], abs=1e-6),
                "probability": pytest.approx(float(labelled.probabilities[n, m]), abs=1e-6),
                "calibrated": None if np.isnan(calibrated) else pytest.approx(calibrated, abs=1e-6),
                "decision": ["absent", "present", "abstain"][labelled.decisions[n, m]],
            }


def test_parquet_has_a_row_for_each_image_and_label(tmp_path, few):
    result, _ = written(few, tmp_path / "l.parquet")
    assert result == Written(6, (tmp_path / "l.parquet").stat().st_size, 0)
    table = pq.read_table(tmp_path / "l.parquet")
    assert table.to_pylist() == list(rows_by_hand(few))
    about = json.loads(table.schema.metadata[KEY.encode()])
    assert (about["label_set"], about["label_set_digest"]) == ("demo findings", "cd" * 32)
    assert (about["encoder"], about["gallery"]) == ("by-hand", "g")
    assert about["gallery_state"] == few.gallery.state
    assert about["calibration"]["fitted_on"]["patients"] == 5
    assert not list(tmp_path.glob(".l*"))


def test_csv_has_the_same_rows_whatever_files_are_called(tmp_path, few):
    written(few, tmp_path / "l.csv")
    with (tmp_path / "l.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    for row, by_hand in zip(found, rows_by_hand(few), strict=True):
        typed = {name: type(value)(row[name]) for name, value in by_hand.items() if type(value) in (int, str)}
        numbers = {name: float(row[name] or "nan") for name in ("score", "probability", "calibrated")}
        numbers["calibrated"] = numbers["calibrated"] if row["calibrated"] else None
        assert {**typed, **numbers} == by_hand
    assert list(found[0]) == list(next(rows_by_hand(few)))


def test_without_a_calibration_there_is_no_column_of_it(tmp_path, few):
    task = Task(few.gallery, Labeller(few.labeller.classifier))
    written(task, tmp_path / "l.parquet")
    assert "calibrated" not in pq.read_schema(tmp_path / "l.parquet").names
    (block,) = task.blocks()
    assert list(next(json_rows(block, task.labels))) == [
        "image_id", "uri", "frame", "label", "score", "probability", "decision"
    ]  # fmt: skip


def test_studies_are_named_by_their_pseudonyms(tmp_path):
    gallery = random_gallery(tmp_path / "g", 3, study=["s", None, "s"])
    written(Task(gallery, random_labeller(labels=1), group_by="study"), tmp_path / "l.parquet")
    table = pq.read_table(tmp_path / "l.parquet", columns=["study", "images", "first_image_id", "label"])
    assert table.to_pylist() == [
        {"study": "s", "images": 2, "first_image_id": 1, "label": "label 0"},
        {"study": None, "images": 1, "first_image_id": 2, "label": "label 0"},
    ]


def test_names_are_written_once_for_all_labels(tmp_path):
    gallery = random_gallery(tmp_path / "g", 2000)
    written(Task(gallery, random_labeller(labels=40)), tmp_path / "l.parquet")
    columns = pq.ParquetFile(tmp_path / "l.parquet").metadata.row_group(0)
    names = {columns.column(n).path_in_schema: columns.column(n) for n in range(columns.num_columns)}
    assert names["uri"].total_uncompressed_size < 200_000  # 80,000 rows of 10 bytes and more
    assert names["score"].compression == "ZSTD"


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    study = [f"s{number % 7000}" for number in range(COUNT)]
    return random_gallery(tmp_path_factory.mktemp("g") / "g", COUNT, study=study).path


@pytest.mark.parametrize("group_by", [None, "study"])
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_run_that_was_killed_goes_on_and_ends_as_one_in_one_go(
    tmp_path, monkeypatch, large, suffix, group_by
):
    for name, value in SMALL_PARTS.items():
        monkeypatch.setattr(output, name, value)
    out, whole = tmp_path / f"l{suffix}", tmp_path / f"whole{suffix}"
    task = Task(Gallery.open(large), random_labeller(), group_by=group_by)
    _, of_whole = written(task, whole)
    program = [sys.executable, str(Path(__file__).with_name("labelling_child.py"))]
    with subprocess.Popen([*program, large, out, group_by or ""], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "half\n"
        child.kill()
    assert not out.exists()
    assert (tmp_path / f".l{suffix}.unfinished" / "whole.unfinished").stat().st_size
    told = []
    result, summary = written(task, out, say=told.append)
    assert 2048 <= result.gone_on_after < task.count
    assert told == [
        f"{out}: going on after {result.gone_on_after} of {task.count} {task.of_what} of an earlier run"
    ]
    assert out.read_bytes() == whole.read_bytes()
    assert summary.rows() == of_whole.rows()
    assert not list(tmp_path.glob(".l*"))


def interrupted(task, path, monkeypatch):
    """Leave the first part of a run."""
    end = Parts.end

    def end_and_stop(self, note):
        end(self, note)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "end", end_and_stop)
        with pytest.raises(KeyboardInterrupt):
            written(task, path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"where": "image_id > 1"}, "made with another where and images"),
        ({"group_by": "study"}, "made with another group_by and pool"),
        ({"labeller": random_labeller(scale=5.0)}, "made with another classifier"),
    ],
)
def test_parts_of_another_run_are_left_aside(tmp_path, monkeypatch, few, change, told):
    few = Task(few.gallery, random_labeller(dim=2))
    interrupted(few, tmp_path / "l.csv", monkeypatch)
    values = {"gallery": few.gallery, "labeller": random_labeller(dim=2)}
    if "labeller" in change:
        change = {"labeller": random_labeller(dim=2, scale=5.0)}
    said = []
    result, summary = written(Task(**values | change), tmp_path / "l.csv", say=said.append)
    assert result.gone_on_after == 0
    assert said == [f"{tmp_path}/l.csv: parts of an earlier run are left aside, {told}; beginning anew"]
    assert summary.count == (2 if "where" in change else 3)


def test_a_gallery_that_changed_is_labelled_anew(tmp_path, monkeypatch, few):
    interrupted(few, tmp_path / "l.csv", monkeypatch)
    with few.gallery.writer() as writer:
        writer.delete("image_id = 2")
    said = []
    result, _ = written(Task(few.gallery, few.labeller), tmp_path / "l.csv", say=said.append)
    assert result.rows == 4
    assert "made with another gallery_state and images; beginning anew" in said[0]


def test_a_file_that_is_there_is_replaced_only_when_asked(tmp_path, few):
    (tmp_path / "l.csv").write_text("mine")
    with pytest.raises(UnusableFile, match=r"l.csv: there is a file already. Pass --overwrite"):
        written(few, tmp_path / "l.csv")
    assert (tmp_path / "l.csv").read_text() == "mine"
    assert written(few, tmp_path / "l.csv", overwrite=True)[0].rows == 6


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("l.txt", "unknown kind of file. Name it"),
        ("no/l.csv", "its folder does not exist"),
        (".csv", "unknown"),
    ],
)
def test_places_that_cannot_be_written_are_told(tmp_path, few, name, told):
    with pytest.raises(UnusableFile, match=told):
        written(few, tmp_path / name)


def test_two_runs_do_not_write_the_same_file(tmp_path, few):
    with parts_of(tmp_path / "l.csv", {}), pytest.raises(UnusableFile, match="another process is writing it"):
        written(few, tmp_path / "l.csv")


def test_the_summary_counts_decisions_and_averages_what_is_best_known(few):
    summary = Summary(few.labels)
    for block in few.blocks():
        summary.add(block.labelled)
    rows = list(rows_by_hand(few))
    for found, label in zip(summary.rows(), few.labels, strict=True):
        mine = [row for row in rows if row["label"] == label]
        counts = {
            word: sum(row["decision"] == word for row in mine) for word in ("present", "absent", "abstain")
        }
        assert {word: found[word] for word in counts} == counts
        assert found["share"] == counts["present"] / 3
        best = [row["probability" if row["calibrated"] is None else "calibrated"].expected for row in mine]
        assert found["mean_probability"] == pytest.approx(np.mean(best), abs=1e-6)
    again = Summary(few.labels)
    again.add_saved(json.loads(json.dumps(summary.saved())))
    assert again.rows() == summary.rows()


def test_the_plot_has_room_for_a_hundred_labels(tmp_path):
    from PIL import Image

    task = Task(random_gallery(tmp_path / "g", 20), random_labeller(labels=100))
    summary = Summary([f"{label} $x^2$ <b>" for label in task.labels])
    for block in task.blocks():
        summary.add(block.labelled)
    for name in ("p.png", "p.svg"):
        draw(summary, tmp_path / name, "A title of $many_words")
    assert "label 99 $x^2$ &lt;b&gt;" in (tmp_path / "p.svg").read_text()
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.height > 100 * 20
