"""Jobs: their order, their ends, and what of them survives the service."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medsiglip_search.errors import Conflict, InvalidQuery, NotFound, Unavailable
from medsiglip_search.service.jobs import Job, JobFile, Progress, running
from medsiglip_search.service.jobs.course import Course, Stopped
from medsiglip_search.service.jobs.running import INTERRUPTED, Jobs
from medsiglip_search.service.jobs.telling import told

LONG_S = 60.0
OpenJobs = Callable[..., Jobs]


class Held:
    """Work that is held until the test lets it go on. It ends when it is told to, unless it is stubborn."""

    def __init__(self, is_stubborn: bool = False) -> None:
        self.begun, self.release = threading.Event(), threading.Event()
        self._is_stubborn = is_stubborn

    def __call__(self, course: Course) -> dict[str, Any]:
        if not self._is_stubborn:
            course.when_stopped(lambda grace_s: self.release.set())
        (course.files / "half.csv").write_text("half")
        self.begun.set()
        assert self.release.wait(LONG_S)
        course.require_wanted()
        return {"held": True}


@pytest.fixture
def open_jobs(tmp_path: Path) -> Iterator[OpenJobs]:
    opened = []

    def open_one(**options: Any) -> Jobs:
        opened.append(Jobs(tmp_path / "jobs", **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close(0)


def write_two(course: Course) -> dict[str, Any]:
    (course.files / "labels.csv").write_text("a,b\n")
    (course.files / "report.html").write_text("<p>")
    course.tell(2, 2, "written")
    return {"count": 2}


def ended(jobs: Jobs, job: Job) -> Job:
    now = jobs.job(job.id)
    while not now.has_ended:
        later = jobs.wait_for_change(job.id, now, LONG_S)
        assert later != now
        now = later
    return now


def record(folder: Path, job: Job) -> dict[str, Any]:
    return json.loads((folder / "jobs" / job.id / "job.json").read_bytes())


def test_a_job_ends_with_its_summary_and_its_files(open_jobs: OpenJobs, tmp_path: Path) -> None:
    jobs = open_jobs()
    job = ended(jobs, jobs.start("label", "chest", "ann", write_two))
    assert (job.state, job.summary, job.problem) == ("done", {"count": 2}, "")
    assert (job.kind, job.gallery, job.owner) == ("label", "chest", "ann")
    assert job.progress == Progress(2, 2, "written")
    assert job.files == (JobFile("labels.csv", "text/csv", 4), JobFile("report.html", "text/html", 3))
    assert job.created <= (job.started or "") <= (job.ended or "")
    assert jobs.file(job.id, "labels.csv").read_text() == "a,b\n"
    folder = tmp_path / "jobs" / job.id
    assert (folder.stat().st_mode & 0o777, (folder / "job.json").stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_job_is_the_same_after_a_restart(open_jobs: OpenJobs) -> None:
    before = open_jobs()
    job = ended(before, before.start("label", "chest", "ann", write_two))
    before.close(0)
    after = open_jobs()
    assert after.jobs() == [job]
    assert after.file(job.id, "report.html").read_text() == "<p>"


def test_only_files_that_the_job_lists_are_given(open_jobs: OpenJobs, tmp_path: Path) -> None:
    jobs = open_jobs()
    job = ended(jobs, jobs.start("label", "chest", "ann", write_two))
    other = ended(jobs, jobs.start("label", "chest", "bob", write_two))
    (tmp_path / "jobs" / job.id / "files" / "later.csv").write_text("not listed")
    absolute = str(tmp_path / "jobs" / other.id / "files" / "labels.csv")
    for name in (
        "../job.json",
        f"../../{other.id}/files/labels.csv",
        absolute,
        "later.csv",
        "",
        ".",
        "..",
        "labels.csv/",
        "./labels.csv",
        "labels.csv\0",
    ):
        with pytest.raises(NotFound):
            jobs.file(job.id, name)
    with pytest.raises(NotFound):
        jobs.file("../" + job.id, "labels.csv")


def test_a_record_that_was_tampered_with_gives_no_other_file(open_jobs: OpenJobs, tmp_path: Path) -> None:
    before = open_jobs()
    job = ended(before, before.start("label", "chest", "ann", write_two))
    before.close(0)
    told_wrong = record(tmp_path, job)
    told_wrong["files"] = [{"name": "../job.json", "media_type": "text/csv", "size_bytes": 1}]
    (tmp_path / "jobs" / job.id / "job.json").write_text(json.dumps(told_wrong))
    with pytest.raises(NotFound):
        open_jobs().file(job.id, "../job.json")


def test_jobs_are_listed_the_newest_first_and_by_owner(open_jobs: OpenJobs) -> None:
    jobs = open_jobs()
    ids = [jobs.start("label", "chest", owner, write_two).id for owner in ("ann", "bob", "ann")]
    assert [job.id for job in jobs.jobs()] == ids[::-1]
    assert [job.id for job in jobs.jobs("ann")] == [ids[2], ids[0]]
    assert jobs.jobs("eve") == []


def test_jobs_run_in_their_order_and_no_more_at_once_than_may(open_jobs: OpenJobs) -> None:
    jobs = open_jobs(most_at_once=2)
    works = [Held() for _ in range(3)]
    first, second, third = (jobs.start("label", "chest", "ann", work) for work in works)
    assert [jobs.job(one.id).state for one in (first, second, third)] == ["running", "running", "waiting"]
    works[0].release.set()
    assert works[2].begun.wait(LONG_S)
    assert [jobs.job(one.id).state for one in (first, second, third)] == ["done", "running", "running"]


def test_one_job_at_a_time_writes_to_a_gallery(open_jobs: OpenJobs) -> None:
    jobs = open_jobs(most_at_once=4)
    writing, waiting = Held(), Held()
    jobs.start("index", "chest", "ann", writing)
    second = jobs.start("index", "chest", "ann", waiting)
    elsewhere = jobs.start("index", "head", "ann", Held())
    reading = jobs.start("label", "chest", "ann", Held())
    states = [jobs.job(one.id).state for one in (second, elsewhere, reading)]
    assert states == ["waiting", "running", "running"]
    writing.release.set()
    assert waiting.begun.wait(LONG_S)


def test_no_more_jobs_wait_than_may(open_jobs: OpenJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MOST_WAITING", 2)
    jobs = open_jobs()
    for _ in range(3):
        jobs.start("label", "chest", "ann", Held())
    with pytest.raises(Conflict, match="2 jobs are waiting"):
        jobs.start("label", "chest", "ann", Held())
    jobs.cancel(jobs.jobs()[0].id)
    jobs.start("label", "chest", "ann", Held())


def test_a_waiting_job_that_is_cancelled_never_runs(open_jobs: OpenJobs) -> None:
    jobs = open_jobs()
    first, second = Held(), Held()
    running_job = jobs.start("label", "chest", "ann", first)
    assert jobs.cancel(jobs.start("label", "chest", "ann", second).id).state == "cancelled"
    first.release.set()
    assert ended(jobs, running_job).state == "done"
    last = ended(jobs, jobs.start("label", "chest", "ann", write_two))
    assert last.state == "done"
    assert not second.begun.is_set()


def test_a_running_job_that_is_cancelled_leaves_nothing_half_made(
    open_jobs: OpenJobs, tmp_path: Path
) -> None:
    jobs = open_jobs()
    work = Held()
    job = jobs.start("label", "chest", "ann", work)
    assert work.begun.wait(LONG_S)
    jobs.cancel(job.id)
    job = ended(jobs, job)
    assert (job.state, job.problem, job.files) == ("cancelled", "", ())
    assert [path.name for path in (tmp_path / "jobs" / job.id).iterdir()] == ["job.json"]
    assert jobs.cancel(job.id) == job


def test_work_that_is_told_to_end_may_still_tell_what_it_came_to(open_jobs: OpenJobs) -> None:
    begun, told_to_end = threading.Event(), threading.Event()

    def work(course: Course) -> dict[str, Any]:
        begun.set()
        course.when_stopped(lambda grace_s: told_to_end.set())
        assert told_to_end.wait(LONG_S)
        raise Stopped({"embedded": 3})

    jobs = open_jobs()
    job = jobs.start("index", "chest", "ann", work)
    assert begun.wait(LONG_S)
    jobs.cancel(job.id)
    assert ended(jobs, job).summary == {"embedded": 3}


def test_work_that_comes_late_is_told_to_end_all_the_same(tmp_path: Path) -> None:
    course = Course(tmp_path, lambda progress: None)
    course.stop("cancelled", 3)
    course.stop("interrupted", 2)
    told_to_end: list[float] = []
    course.when_stopped(told_to_end.append)
    course.stop("interrupted", 1)
    assert (told_to_end, course.stopped_as) == ([2, 1], "cancelled")


def test_progress_is_there_at_once_and_written_only_now_and_then(
    open_jobs: OpenJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "KEEP_EVERY_S", float("inf"))
    jobs, go_on = open_jobs(), threading.Event()

    def work(course: Course) -> dict[str, Any]:
        course.tell(1, None, "listed")
        course.tell(1, 4, "labelled", 2.5)
        assert go_on.wait(LONG_S)
        return {}

    job = jobs.start("label", "chest", "ann", work)
    while job.progress.total is None:
        job = jobs.wait_for_change(job.id, job, LONG_S)
    assert job.progress == Progress(1, 4, "labelled", 2.5)
    assert record(tmp_path, job)["progress"]["done"] == 0
    go_on.set()
    ended(jobs, job)
    assert record(tmp_path, job)["progress"]["total"] == 4


def test_to_wait_for_a_change_ends_without_one(open_jobs: OpenJobs) -> None:
    jobs = open_jobs()
    job = ended(jobs, jobs.start("label", "chest", "ann", write_two))
    assert jobs.wait_for_change(job.id, job, 0) == job
    with pytest.raises(NotFound):
        jobs.wait_for_change("no such job", job, 0)


def test_what_went_wrong_is_told_without_places(
    open_jobs: OpenJobs, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(course: Course) -> dict[str, Any]:
        raise InvalidQuery("/data/Smith_John/g: no column 'SMITH'; name another one")

    def fill_the_disk(course: Course) -> dict[str, Any]:
        raise OSError(28, "No space left on device", "/data/Smith_John/x")

    def break_down(course: Course) -> dict[str, Any]:
        raise RuntimeError("Smith_John")

    jobs = open_jobs()
    problems = [
        ended(jobs, jobs.start("label", "chest", "ann", work)).problem
        for work in (refuse, fill_the_disk, break_down)
    ]
    assert problems == [
        "a file: no column '...'; name another one",
        "it could not go on: no space left on device; tell an administrator",
        "it failed (RuntimeError); start it again, or tell an administrator",
    ]
    assert "RuntimeError at test_service_jobs.py:" in caplog.text
    assert "Smith" not in caplog.text


def test_what_a_killed_service_left_is_interrupted(open_jobs: OpenJobs, tmp_path: Path) -> None:
    before = open_jobs()
    job = ended(before, before.start("index", "chest", "ann", write_two))
    before.close(0)
    as_killed = record(tmp_path, job) | {"state": "running", "ended": None, "files": []}
    folder = tmp_path / "jobs" / job.id
    (folder / "job.json").write_text(json.dumps(as_killed))
    (folder / "truth.csv").write_text("patients")
    (after,) = open_jobs().jobs()
    assert (after.state, after.problem) == ("interrupted", INTERRUPTED["index"])
    assert after.ended is not None
    assert record(tmp_path, job)["state"] == "interrupted"
    assert [path.name for path in folder.iterdir()] == ["job.json"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"id": "other"}', b"\xff" * 9, None])
def test_a_damaged_record_is_left_aside(
    damage: bytes | None, open_jobs: OpenJobs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = open_jobs()
    job, other = (ended(before, before.start("label", "chest", "ann", write_two)) for _ in range(2))
    before.close(0)
    path = tmp_path / "jobs" / job.id / "job.json"
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    after = open_jobs()
    assert after.jobs() == [other]
    assert caplog.messages == [f"job {job.id}: its record is damaged; it is left aside"]
    assert (tmp_path / "jobs" / job.id / "files" / "labels.csv").exists()


def test_a_record_of_another_job_is_damaged(open_jobs: OpenJobs, tmp_path: Path) -> None:
    before = open_jobs()
    job, other = (ended(before, before.start("label", "chest", "ann", write_two)) for _ in range(2))
    before.close(0)
    (tmp_path / "jobs" / job.id / "job.json").write_text(json.dumps(record(tmp_path, other)))
    assert open_jobs().jobs() == [other]


def test_old_jobs_are_removed_be_they_damaged_or_not(open_jobs: OpenJobs, tmp_path: Path) -> None:
    before = open_jobs()
    old, damaged, new = (ended(before, before.start("label", "chest", "ann", write_two)) for _ in range(3))
    before.close(0)
    folders = {job.id: tmp_path / "jobs" / job.id for job in (old, damaged, new)}
    long_ago = record(tmp_path, old) | {"ended": "2001-01-01T00:00:00.000000+00:00"}
    (folders[old.id] / "job.json").write_text(json.dumps(long_ago))
    (folders[damaged.id] / "job.json").write_text("{")
    os.utime(folders[damaged.id], (0, 0))
    assert open_jobs(keep_days=7).jobs() == [new]
    assert [folder.exists() for folder in folders.values()] == [False, False, True]


def test_the_end_of_the_service_interrupts_what_runs_and_what_waits(
    open_jobs: OpenJobs, tmp_path: Path
) -> None:
    jobs = open_jobs()
    work, never = Held(), Held()
    running_job, waiting_job = (jobs.start("label", "chest", "ann", one) for one in (work, never))
    assert work.begun.wait(LONG_S)
    jobs.close(LONG_S)
    for job in (running_job, waiting_job):
        assert (jobs.job(job.id).state, record(tmp_path, job)["state"]) == ("interrupted", "interrupted")
        assert jobs.job(job.id).problem == INTERRUPTED["label"]
    assert not never.begun.is_set()
    with pytest.raises(Unavailable):
        jobs.start("label", "chest", "ann", write_two)


def test_work_that_does_not_end_is_not_waited_for(
    open_jobs: OpenJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "END_S", 0.0)
    jobs = open_jobs()
    work = Held(is_stubborn=True)
    job = jobs.start("label", "chest", "ann", work)
    assert work.begun.wait(LONG_S)
    jobs.close(0)
    interrupted = jobs.job(job.id)
    assert interrupted.state == "interrupted"
    (thread,) = [one for one in threading.enumerate() if one.name == "label job"]
    work.release.set()
    thread.join(LONG_S)
    assert jobs.job(job.id) == interrupted


def test_two_services_do_not_share_their_jobs(open_jobs: OpenJobs, tmp_path: Path) -> None:
    open_jobs()
    with pytest.raises(Unavailable, match="another service"):
        Jobs(tmp_path / "jobs")


def test_a_job_that_cannot_be_kept_is_refused(open_jobs: OpenJobs, tmp_path: Path) -> None:
    jobs = open_jobs()
    (tmp_path / "jobs").rename(tmp_path / "gone")
    with pytest.raises(Unavailable, match="cannot be kept"):
        jobs.start("label", "chest", "ann", write_two)
    assert jobs.jobs() == []


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("/data/a: no file in it", "chest: no file in it"),
        ("no file in /data/a. Try another", "no file in chest. Try another"),
        ("/data/a/Smith John/1.dcm: cannot be read", "chest: cannot be read"),
        ("/data/a/b: odd", "head: odd"),
        ("/data/a2/x.dcm, line 3: odd", "a file, line 3: odd"),
        ("s3://bucket/Smith: refused", "a file: refused"),
        ("no column 'Smith' or \"Doe\"; 1 and/or 1/2", "no column '...' or '...'; 1 and/or 1/2"),
        ("the patient's\nimage isn't there", "the patient's image isn't there"),
    ],
)
def test_messages_name_places_as_users_do(message: str, expected: str) -> None:
    assert told(message, {"/data/a": "chest", "/data/a/b": "head"}) == expected
