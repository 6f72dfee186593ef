"""Damaged files: a short run of what `make fuzz` does at length, and that it would notice."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz import DIED, FAILED, KINDS, TIMED_OUT, damaged_file, fuzz, judge
from good_files import good_files
from guarded_tasks import attempt

from medsiglip_search.errors import Reason
from medsiglip_search.images.guard import Guard, Limits


def crash() -> Iterator[tuple[str, str]]:
    os.abort()
    yield "picture", ""


def hang() -> Iterator[tuple[str, str]]:
    time.sleep(60)
    yield "picture", ""


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(workers=1, limits=Limits(timeout_s=1.0)) as started:
        yield started


def test_damaged_files_are_pictures_or_have_a_reason() -> None:
    report = fuzz(range(400))
    assert report.failures == {}
    assert sum(report.outcomes.values()) == 400
    assert {outcome for _, outcome in report.outcomes} <= {"picture", *map(str, Reason)}
    # Damage too slight or too gross would find nothing.
    assert report.count("picture") > 40
    assert report.count("malformed") > 40
    assert report.count("truncated") > 40


def test_a_seed_makes_the_same_file_again_and_another_one_another() -> None:
    first = [damaged_file(seed) for seed in range(50)]
    assert [damaged_file(seed) for seed in range(50)] == first
    assert len({content for _, content in first}) > 45
    assert {kind for kind, _ in first} == set(KINDS)


def test_the_good_files_are_pictures(guard: Guard, tmp_path: Path) -> None:
    for kind, files in good_files().items():
        outcomes = []
        for number, content in enumerate(files):
            path = tmp_path / f"{kind}{number}"
            path.write_bytes(content)
            outcomes.append(judge(guard, attempt, str(path))[0])
        # Some of those that come with pydicom are doses and segmentations.
        assert outcomes.count("picture") >= 0.75 * len(outcomes), kind


def test_no_failure_goes_unnoticed(guard: Guard) -> None:
    assert judge(guard, crash)[0] == DIED
    assert judge(guard, hang)[0] == TIMED_OUT
    outcome, said = judge(guard, attempt, None)  # no path: code that breaks
    assert outcome == FAILED
    assert "TypeError" in said
    assert judge(guard, attempt, "absent")[0] == "unreadable"
