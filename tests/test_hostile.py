"""Hostile and odd files: each ends as the table of inputs says, within time and memory."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from guarded_tasks import Outcome, look, look_and_measure
from hostile_case import PATIENT, Shown
from hostile_files import CONTENT_CASES, PATH_CASES, write
from hostile_pictures import jpeg_of_many_scans, png

from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images.guard import Guard, Limits

MOST_MEMORY = 1_500_000_000
MOST_GROWTH = 50_000_000


class Service:
    """A guard as the indexer and the queries have one, and what this process held at first."""

    def __init__(self) -> None:
        self.guard = Guard(workers=1)
        list(self.guard.run(look, png()))
        self.memory_at_first = resident_bytes()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    started = Service()
    with started.guard:
        yield started


@pytest.fixture(scope="module")
def writer() -> Iterator[Guard]:
    with Guard(workers=1, limits=Limits(timeout_s=60.0, memory_bytes=4_000_000_000)) as guard:
        yield guard


def resident_bytes() -> int:
    """Return the memory that this process holds; 0 where the system does not say."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else 0


def assert_as_expected(outcome: Outcome, expected: Reason | Shown) -> None:
    if isinstance(expected, Reason):
        assert outcome.reason == expected, outcome.message
        return
    assert outcome.reason is None, outcome.message
    assert outcome.pixels is not None
    assert (outcome.frames, outcome.flags) == (expected.frames, expected.flags)
    assert outcome.pixels.shape == (*expected.size, 3)
    for found, known in ((outcome.pixels, expected.pixels), (outcome.last, expected.last)):
        if known is not None:
            np.testing.assert_array_equal(found, known)


def assert_says_nothing_of_the_patient(message: str, path: Path) -> None:
    for word in (*PATIENT.split("^"), path.name, str(path.parent)):
        assert word not in message


def test_the_table_is_long_enough_and_covers_every_kind_of_input() -> None:
    rows = [*(case.row for case in CONTENT_CASES.values()), *(case.row for case in PATH_CASES.values())]
    assert len(rows) >= 80
    # Rows 3, 15 and 19 compare two files.
    assert set(rows) == set(range(1, 19)) - {3, 15}


@pytest.mark.parametrize("name", CONTENT_CASES)
def test_a_hostile_file_ends_as_it_must(name: str, service: Service, writer: Guard, tmp_path: Path) -> None:
    path = tmp_path / f"{PATIENT}.jpg"  # its name plays no part
    list(writer.run(write, name, path))
    # No crash of the worker and no timeout either: those would raise here.
    [(outcome, peak)] = service.guard.run(look_and_measure, str(path))
    assert peak < MOST_MEMORY
    assert_says_nothing_of_the_patient(outcome.message, path)
    assert_as_expected(outcome, CONTENT_CASES[name].outcome)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a file system without FIFOs")
@pytest.mark.parametrize("name", PATH_CASES)
def test_a_hostile_path_ends_as_it_must(name: str, service: Service, tmp_path: Path) -> None:
    case = PATH_CASES[name]
    folder = tmp_path / PATIENT
    folder.mkdir()
    path = case.make(folder)
    [outcome] = service.guard.run(look, str(path))
    assert_says_nothing_of_the_patient(outcome.message, folder)
    assert_as_expected(outcome, case.outcome)


@pytest.mark.skipif(not resident_bytes(), reason="the system does not say how much memory a process holds")
def test_the_service_has_not_grown_by_all_the_files_before(service: Service) -> None:
    assert resident_bytes() - service.memory_at_first < MOST_GROWTH


def test_a_picture_that_takes_too_long_is_given_up_and_the_next_one_is_read() -> None:
    with Guard(workers=1, limits=Limits(timeout_s=1.5)) as guard:
        with pytest.raises(Unreadable) as caught:
            list(guard.run(look, jpeg_of_many_scans(50_000)))
        assert caught.value.reason == Reason.DECODE_TIMEOUT
        [outcome] = guard.run(look, png())
        assert outcome.reason is None
