"""Answers that do not end by themselves, for those who may listen to them no longer."""

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from serving import Served

from medsiglip_search.service import gate
from medsiglip_search.service.jobs import Job
from medsiglip_search.service.jobs.course import Course


@pytest.fixture
def job(guarded: Served) -> Iterator[Job]:
    """A job of whoever is called "listens", which goes on until the test is over."""
    is_over = threading.Event()

    def work(course: Course) -> dict[str, Any]:
        is_over.wait()
        return {"count": 1}

    begun = guarded.service.jobs.start("label", "demo", "key:listens", work)
    yield begun
    is_over.set()
    while not begun.has_ended:
        begun = guarded.service.jobs.wait_for_change(begun.id, begun)


@pytest.mark.parametrize("by", ["key", "session"])
def test_who_lost_their_key_is_told_nothing_more_of_a_job(
    guarded: Served, job: Job, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "LOOK_S", 0.05)
    key = guarded.key("listens", "admin")
    with guarded.client(key if by == "key" else None) as client:
        if by == "session":
            client.post("/login", data={"key": key})
        with client.stream("GET", f"/v1/jobs/{job.id}/events") as events:
            lines = events.iter_lines()
            assert any(line.startswith("data: ") for line in lines)
            guarded.revoke(key)
            try:
                rest = list(lines)
            except httpx.RemoteProtocolError:  # broken off, which is an end, too
                rest = []
    assert not guarded.service.jobs.job(job.id).has_ended
    assert not any('"done"' in line for line in rest)
