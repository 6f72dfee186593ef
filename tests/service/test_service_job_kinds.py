"""What jobs do: index in a process of its own, label and evaluate as the commands."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from index_processes import index_processes, wait_for_end
from labelled import classifier, random_gallery

from medsiglip_search.cli import main
from medsiglip_search.encoders import Encoder, load_encoder
from medsiglip_search.errors import InvalidQuery, NotFound
from medsiglip_search.evaluate.run import Settings
from medsiglip_search.gallery import Gallery
from medsiglip_search.labelling.run import labelled_blocks
from medsiglip_search.labels.labeller import Labeller
from medsiglip_search.labels.opening import open_label_set
from medsiglip_search.service.jobs import Job
from medsiglip_search.service.jobs.course import Course, Stopped
from medsiglip_search.service.jobs.evaluate_job import EvaluateWork
from medsiglip_search.service.jobs.index_job import IndexRequest, index_work
from medsiglip_search.service.jobs.label_job import LabelWork
from medsiglip_search.service.jobs.running import INTERRUPTED, Jobs
from medsiglip_search.service.jobs.uncertain import Uncertain

LONG_S = 120.0
FEW = 40
Until = Callable[[Job], bool]


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    opened = Jobs(tmp_path / "jobs")
    yield opened
    opened.close(0)


@pytest.fixture(scope="module")
def few(demo_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of a few pictures, and one file that is none."""
    folder = tmp_path_factory.mktemp("ward") / "Smith_John"
    folder.mkdir()
    pictures = sorted(path for path in demo_archive.rglob("*") if path.suffix in (".dcm", ".png"))
    for number, path in enumerate(pictures[:FEW]):
        shutil.copy(path, folder / f"{number}{path.suffix}")
    (folder / "notes.png").write_text("Smith_John: no picture")
    return folder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("demo", "cpu")


def wait(jobs: Jobs, job: Job, until: Until = lambda job: job.has_ended) -> Job:
    while not until(job):
        later = jobs.wait_for_change(job.id, job, LONG_S)
        assert later != job
        assert until(later) or not later.has_ended, later
        job = later
    return job


def index(jobs: Jobs, gallery: Path, archive: Path) -> Job:
    work = index_work(IndexRequest(("ward",)), "chest", gallery, {"ward": archive, "other": "/nowhere"})
    return jobs.start("index", "chest", "ann", work)


def has_begun(job: Job) -> bool:
    return bool(job.progress.word)


def started_process() -> int:
    """Return the process that indexes, as soon as it is there."""
    until = time.monotonic() + LONG_S
    while not (found := index_processes()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found[0]


def course_of(folder: Path) -> tuple[Course, list[Any]]:
    heard: list[Any] = []
    (folder / "files").mkdir(parents=True)
    return Course(folder, heard.append), heard


def test_an_index_job_that_is_cancelled_ends_clean_and_the_next_one_completes(
    jobs: Jobs, tmp_path: Path, few: Path
) -> None:
    job = index(jobs, tmp_path / "g", few)
    process = started_process()
    job = wait(jobs, job, has_begun)
    # Held where it is, so that it cannot be through before it is told to end.
    os.kill(process, signal.SIGSTOP)
    assert jobs.cancel(job.id).progress.word == "stopping"
    os.kill(process, signal.SIGCONT)
    cancelled = wait(jobs, job)
    assert (cancelled.state, cancelled.problem) == ("cancelled", "")
    stored = Gallery.open(tmp_path / "g")
    (run,) = stored.runs()
    assert run.state == "interrupted"
    assert cancelled.summary["embedded"] == run.embedded == len(stored)

    done = wait(jobs, index(jobs, tmp_path / "g", few))
    assert (done.state, done.problem) == ("done", "")
    assert (done.progress.done, done.progress.total, done.progress.seconds_left) == (FEW + 1, FEW + 1, 0)
    gallery = Gallery.open(tmp_path / "g")
    rejected = {
        uri: reason
        for uris, reasons in gallery.rejected_batches("uri", "reason")
        for uri, reason in zip(uris, reasons, strict=True)
    }
    assert rejected["notes.png"] == "not_an_image"
    assert (done.summary["rejected"], done.summary["archives"]) == (Counter(rejected.values()), ["ward"])
    assert done.summary["embedded"] + cancelled.summary["embedded"] == len(gallery)
    files = {one.uri for one in gallery.instances(gallery.select(None))}
    assert files == {path.name for path in few.iterdir()} - set(rejected)
    assert "Smith" not in str(jobs.jobs())


def test_an_index_process_that_is_killed_fails_its_job_alone(jobs: Jobs, tmp_path: Path, few: Path) -> None:
    job = index(jobs, tmp_path / "g", few)
    os.kill(started_process(), signal.SIGKILL)
    failed = wait(jobs, job)
    assert failed.state == "failed"
    assert failed.problem.startswith("the system ended it (signal 9), perhaps for want of memory")


def test_an_index_job_ends_with_a_service_that_is_killed(jobs: Jobs, tmp_path: Path, few: Path) -> None:
    script = Path(__file__).with_name("service_with_jobs.py")
    places = [tmp_path / "killed", tmp_path / "g", few]
    with subprocess.Popen([sys.executable, script, *places], stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        process = os.pidfd_open(int(service.stdout.readline()))
        service.kill()
    try:
        assert wait_for_end(process, LONG_S)
    finally:
        os.close(process)
    (run,) = Gallery.open(tmp_path / "g").runs()
    assert run.state == "interrupted"
    after = Jobs(tmp_path / "killed")
    (job,) = after.jobs()
    assert (job.state, job.problem) == ("interrupted", INTERRUPTED["index"])
    after.close(0)


def test_what_is_wrong_with_an_archive_is_told_by_its_name(jobs: Jobs, tmp_path: Path) -> None:
    archive = tmp_path / "Smith_John"
    failed = wait(jobs, index(jobs, tmp_path / "g", archive))
    assert failed.state == "failed"
    assert failed.problem.startswith("ward: ")
    assert "Smith" not in str(jobs.jobs())


def test_only_archives_that_are_known_are_indexed(tmp_path: Path) -> None:
    known = {"ward": "/data/ward"}
    with pytest.raises(NotFound) as refused:
        index_work(IndexRequest(("/etc",)), "chest", tmp_path, known)
    assert "etc" not in str(refused.value)
    with pytest.raises(InvalidQuery):
        index_work(IndexRequest(()), "chest", tmp_path, known)


@pytest.mark.parametrize("group_by", [None, "patient"])
def test_a_label_job_writes_what_the_command_writes(
    group_by: Any, jobs: Jobs, tmp_path: Path, demo_gallery: Path, encoder: Encoder, capsys: Any
) -> None:
    where = "modality = 'CR'"
    arguments = ["label", str(demo_gallery), "demo-findings", "--where", where, "--json"]
    arguments += ["--group-by", group_by] if group_by else []
    for name in ("labels.csv", "labels.parquet"):
        with pytest.raises(SystemExit, match="0"):
            main([*arguments, "--out", str(tmp_path / name)])
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    gallery = Gallery.open(demo_gallery)
    work = LabelWork(
        "chest",
        gallery,
        encoder.with_spec(gallery.meta.spec),
        open_label_set("demo-findings"),
        where,
        group_by,
    )
    job = wait(jobs, jobs.start("label", "chest", "ann", work))
    assert (job.state, job.problem) == ("done", "")
    assert [one.name for one in job.files] == ["labels.csv", "labels.parquet", "summary.json"]
    assert jobs.file(job.id, "labels.csv").read_bytes() == (tmp_path / "labels.csv").read_bytes()
    made, expected = (
        pq.read_table(path) for path in (jobs.file(job.id, "labels.parquet"), tmp_path / "labels.parquet")
    )
    assert made.equals(expected, check_metadata=True)
    labels = len(job.summary["labels"])
    assert job.summary["labels"] == printed[len(printed) - labels :]
    assert job.summary["count"] * labels == len(made)
    assert job.progress.done == job.progress.total == job.summary["count"]


def test_hidden_columns_are_not_in_the_files(tmp_path: Path, demo_gallery: Path, encoder: Encoder) -> None:
    gallery = Gallery.open(demo_gallery)
    hidden = frozenset({"archive", "uri", "image_id"})
    work = LabelWork(
        "chest", gallery, encoder.with_spec(gallery.meta.spec), open_label_set("demo-findings"), hidden=hidden
    )
    course, _ = course_of(tmp_path / "job")
    work(course)
    with (course.files / "labels.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert header == ["image_id", "frame", "label", "score", "probability", "decision"]
    assert pq.read_schema(course.files / "labels.parquet").names == header


def test_a_label_job_is_stopped_between_blocks(tmp_path: Path, demo_gallery: Path, encoder: Encoder) -> None:
    gallery = Gallery.open(demo_gallery)
    work = LabelWork("chest", gallery, encoder.with_spec(gallery.meta.spec), open_label_set("demo-findings"))
    course, heard = course_of(tmp_path / "job")
    course.stop("cancelled", 0)
    with pytest.raises(Stopped):
        work(course)
    assert heard == []


def test_a_filter_that_fits_nothing_is_not_repeated(jobs: Jobs, demo_gallery: Path, encoder: Encoder) -> None:
    gallery = Gallery.open(demo_gallery)
    work = LabelWork(
        "chest",
        gallery,
        encoder.with_spec(gallery.meta.spec),
        open_label_set("demo-findings"),
        where="modality = 'Smith'",
    )
    job = wait(jobs, jobs.start("label", "chest", "ann", work))
    assert job.state == "failed"
    assert job.problem == "chest: no image fits the filter; change it or leave it out"


def uncertain(labeller: Labeller, gallery: Gallery, most: int) -> list[dict[str, Any]]:
    found = Uncertain(labeller, most)
    for block in labelled_blocks(gallery, labeller):
        found.add(block)
    return found.rows()


def test_findings_are_uncertain_near_their_threshold(tmp_path: Path) -> None:
    gallery = random_gallery(tmp_path / "g", 5000)
    weights = np.random.default_rng(1).standard_normal((2, 8))
    labeller = Labeller(classifier(weights, ["effusion", "nodule"], thresholds=np.array([0.5, 0.9])))
    rows = uncertain(labeller, gallery, 7)
    ids = gallery.select(None)
    labelled = labeller.label(gallery.embeddings_of(ids))
    expected = []
    for column, label in enumerate(("effusion", "nodule")):
        distances = np.abs(labelled.probabilities[:, column] - labeller.thresholds[column].astype(np.float32))
        expected += [(label, int(ids[place])) for place in np.argsort(distances, kind="stable")[:7]]
    assert [(row["label"], row["image_id"]) for row in rows] == expected
    assert {row["decision"] for row in rows} == {"present", "absent"}
    for row in rows:
        threshold = 0.5 if row["label"] == "effusion" else 0.9
        assert row["decision"] == ("present" if row["probability"] >= np.float32(threshold) else "absent")


def test_exclusive_labels_are_uncertain_where_the_second_is_as_likely(tmp_path: Path) -> None:
    gallery = random_gallery(tmp_path / "g", 40, dim=3)
    labeller = Labeller(classifier(np.eye(3), ["a", "b", "c"], "exclusive"))
    rows = uncertain(labeller, gallery, 50)
    ids = gallery.select(None)
    probabilities = labeller.label(gallery.embeddings_of(ids)).probabilities
    ordered = np.sort(probabilities, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    expected = []
    for column, label in enumerate("abc"):
        own = [
            place for place in np.argsort(margins, kind="stable") if probabilities[place].argmax() == column
        ]
        expected += [(label, int(ids[place]), "present") for place in own]
    assert [(row["label"], row["image_id"], row["decision"]) for row in rows] == expected


def test_the_summary_names_the_uncertain_images(tmp_path: Path, demo_gallery: Path, encoder: Encoder) -> None:
    gallery = Gallery.open(demo_gallery)
    work = LabelWork("chest", gallery, encoder.with_spec(gallery.meta.spec), open_label_set("demo-findings"))
    course, _ = course_of(tmp_path / "job")
    summary = work(course)
    written = json.loads((course.files / "summary.json").read_bytes())
    rows = written.pop("uncertain")
    assert written == summary
    assert {row["image_id"] for row in rows} <= set(gallery.select(None).tolist())
    labels = [row["label"] for row in summary["labels"]]
    assert [row["label"] for row in rows] == [label for label in labels for _ in range(50)]


@pytest.fixture(scope="module")
def table(demo_archive: Path) -> bytes:
    """The truth of the demo: the findings that are drawn, a column for each."""
    with (demo_archive / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = ["path,patient,pneumothorax,cardiomegaly"]
    for row in rows:
        found = row["findings"].split(";")
        said = [str(int(name in found)) for name in ("pneumothorax", "cardiomegaly")]
        lines.append(",".join([row["path"], row["patient"], *said]))
    return "\n".join(lines).encode()


def test_an_evaluate_job_reports_what_the_command_reports(
    jobs: Jobs, tmp_path: Path, demo_gallery: Path, encoder: Encoder, table: bytes, capsys: Any
) -> None:
    (tmp_path / "truth.csv").write_bytes(table)
    arguments = [str(demo_gallery), str(tmp_path / "truth.csv"), "--labels", "demo-findings"]
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", *arguments, "--resamples", "20", "--out", str(tmp_path), "--json"])
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    gallery = Gallery.open(demo_gallery)
    work = EvaluateWork(
        "chest",
        demo_gallery,
        encoder.with_spec(gallery.meta.spec),
        table,
        ("demo-findings",),
        settings=Settings(resamples=20),
    )
    job = wait(jobs, jobs.start("evaluate", "chest", "ann", work))
    assert (job.state, job.problem) == ("done", "")
    assert [one.name for one in job.files] == ["report.html", "report.json"]
    means = [row | {"gallery": "chest"} for row in printed if row["label"] is None]
    assert job.summary["figures"] == means
    report = json.loads(jobs.file(job.id, "report.json").read_bytes())
    by_command = json.loads((tmp_path / "report.json").read_bytes())
    assert report["figures"] == [row | {"gallery": "chest"} for row in by_command["figures"]]
    assert report["truth"] == by_command["truth"]
    for name in ("report.html", "report.json"):
        text = jobs.file(job.id, name).read_text()
        assert str(demo_gallery.parent) not in text
        assert "chest" in text
    assert not (tmp_path / "jobs" / job.id / "truth.csv").exists()


def test_an_evaluate_job_is_stopped_between_steps(
    tmp_path: Path, demo_gallery: Path, encoder: Encoder, table: bytes
) -> None:
    course, heard = course_of(tmp_path / "job")
    course.stop("cancelled", 0)
    spec = Gallery.open(demo_gallery).meta.spec
    with pytest.raises(Stopped):
        EvaluateWork("chest", demo_gallery, encoder.with_spec(spec), table)(course)
    assert heard == []
    assert [path.name for path in course.folder.iterdir()] == ["files"]


def test_a_table_that_fits_no_image_fails_its_job(jobs: Jobs, demo_gallery: Path, encoder: Encoder) -> None:
    spec = Gallery.open(demo_gallery).meta.spec
    work = EvaluateWork("chest", demo_gallery, encoder.with_spec(spec), b"path,nodule\nSmith.dcm,1\n")
    job = wait(jobs, jobs.start("evaluate", "chest", "ann", work))
    assert job.state == "failed"
    assert job.problem.startswith("the table: no row names an image of chest. The table has '...'")


def test_only_shipped_label_sets_are_evaluated(tmp_path: Path, encoder: Encoder) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("mode: exclusive\nlabels: [a, b]\n")
    with pytest.raises(NotFound) as refused:
        EvaluateWork("chest", tmp_path, encoder, b"", (str(path),))
    assert "own" not in str(refused.value)
    with pytest.raises(InvalidQuery):
        EvaluateWork("chest", tmp_path, encoder, b"", ("modality", "modality"))
