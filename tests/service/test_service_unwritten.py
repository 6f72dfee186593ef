"""What changes something is not done where the audit cannot have it."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Served, serving

from medsiglip_search.service.audit import records
from medsiglip_search.service.jobs.course import Course

TRUTH = b"path,frame,effusion\na.dcm,0,1\n"
REVIEW = {
    "label_set": "own",
    "label_set_digest": "0" * 64,
    "label": "nodule",
    "image_id": 1,
    "decision": "present",
    "answer": "agree",
}
ACTS: dict[str, dict[str, Any]] = {
    "label-runs": {"json": {"label_set": "modality"}},
    "index-runs": {"json": {"archives": ["scans"]}},
    "evaluations": {"files": {"truth": TRUTH}},
    "reviews": {"json": REVIEW},
}


@pytest.fixture(scope="module")
def ward(demo_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("unwritten")
    shutil.copytree(demo_gallery, folder / "gallery")
    archives = {"scans": str(demo_gallery.parent / "archive")}
    with serving({"ward": folder / "gallery"}, folder / "state", archives=archives) as running:
        yield running


@contextmanager
def without_audit(served: Served) -> Iterator[None]:
    """The audit's file is away, as with a disk that fails."""
    log = served.service.settings.state / "audit.jsonl"
    log.rename(log.with_name("away"))
    try:
        yield
    finally:
        log.with_name("away").rename(log)


def refused(answer: httpx.Response) -> bool:
    return answer.status_code == 503 and answer.json()["type"].endswith(":audit-unavailable")


@pytest.mark.parametrize("act", ACTS)
def test_nothing_is_begun_or_kept_that_cannot_be_written_down(ward: Served, act: str) -> None:
    with ward.client() as client, without_audit(ward):
        assert refused(client.post(f"/v1/galleries/ward/{act}", **ACTS[act]))
    assert ward.service.jobs.jobs() == []
    assert not (ward.service.settings.state / "reviews").exists()


def test_an_image_stays_whose_deletion_cannot_be_written_down(ward: Served) -> None:
    with ward.client() as client:
        with without_audit(ward):
            assert refused(client.delete("/v1/galleries/ward/images/1"))
        assert client.get("/v1/galleries/ward/images/1").status_code == 200


def test_a_job_goes_on_whose_end_cannot_be_written_down(ward: Served) -> None:
    is_on, may_end = threading.Event(), threading.Event()

    def work(course: Course) -> dict[str, Any]:
        is_on.set()
        may_end.wait()
        course.require_wanted()
        return {"count": 1}

    job = ward.service.jobs.start("label", "ward", "none:local", work)
    try:
        assert is_on.wait(60)
        with ward.client() as client, without_audit(ward):
            assert refused(client.delete(f"/v1/jobs/{job.id}"))
    finally:
        may_end.set()
    with ward.client() as client, client.stream("GET", f"/v1/jobs/{job.id}/events") as events:
        events.read()
    assert ward.service.jobs.job(job.id).state == "done"


def test_the_audit_has_what_was_asked_for_before_what_came_of_it(ward: Served) -> None:
    with ward.client() as client:
        assert client.post("/v1/galleries/ward/reviews", json=REVIEW).status_code < 300
    asked, done = [one for one in records(ward.service.settings.state) if one.action == "review"]
    assert asked.details == {"answer": "agree", "label_set_digest": "0" * 16, "stage": "asked"}
    assert done.details == {"answer": "agree", "label_set_digest": "0" * 16}
    assert asked.subjects == done.subjects == ("1",)
