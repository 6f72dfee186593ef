"""Listing ahead of the work, and how far a run is."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexer import listing as listing_module
from indexer.listing import Listing
from indexer.progress import TOLD_PER_SKIPPED, Counts, Meter, Progress
from indexer.reading import Job
from indexer.sources import Entry, Key
from indexer.sources.folder import LocalFile
from medsiglip_search.errors import ArchiveNotFound


class HandMade:
    """An archive of these names; one that ends in "!" has a problem. Remembers how many were asked for."""

    def __init__(self, archive: str, *names: str) -> None:
        self.archive = archive
        self.names = names
        self.asked = 0

    def entries(self) -> Iterator[Entry]:
        for name in self.names:
            self.asked += 1
            problem = "cannot be read" if name.endswith("!") else None
            yield Entry(self.archive, name.rstrip("!"), 1, 2, LocalFile(name), problem)

    def holds(self, uri: str) -> bool:
        return uri in self.names


def keys(listing: Listing, job: Callable[[Entry], Job | None] = Job) -> list[Key]:
    return [entry.key for entry, _ in listing.files(job)]


def test_the_files_of_all_archives_come_one_archive_after_another_each_archive_once() -> None:
    with Listing([HandMade("b", "2", "1"), HandMade("a", "1"), HandMade("b", "2", "1")]) as listing:
        assert keys(listing) == [("b", "2"), ("b", "1"), ("a", "1")]
        assert (listing.total, listing.is_complete, listing.is_through) == (3, True, True)


def test_no_more_is_listed_ahead_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_module, "FILES_AHEAD", 5)
    source = HandMade("a", *map(str, range(100)))
    with Listing([source]) as listing:
        files = listing.files(Job)
        assert next(files)[0].uri == "0"
        _wait_until(lambda: source.asked >= 7)
        assert (listing.is_complete, listing.is_through) == (False, False)
    # One taken, those in the queue, the place there for the end, one in hand, one that the end let through.
    assert source.asked <= 9
    assert not [thread for thread in threading.enumerate() if thread.name == "draw-ahead"]


def test_an_error_of_an_archive_comes_where_it_stood() -> None:
    class Breaking(HandMade):
        def entries(self) -> Iterator[Entry]:
            yield from super().entries()
            raise OSError("the disk is gone")

    with Listing([Breaking("a", "1", "2")]) as listing:
        files = listing.files(Job)
        assert [next(files)[0].uri, next(files)[0].uri] == ["1", "2"]
        with pytest.raises(OSError, match="the disk is gone"):
            next(files)
        assert (listing.is_complete, listing.is_through) == (False, False)


def test_an_archive_without_a_file_is_named_and_tables_are_none(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("path,report\na.png,normal\n")
    with Listing([HandMade("a", "1"), HandMade("tables", str(table))]) as listing:
        assert keys(listing) == [("a", "1")]
        with pytest.raises(ArchiveNotFound, match="tables: holds no file"):
            listing.require_files()


def test_what_lies_below_a_folder_that_could_not_be_listed_was_not_seen() -> None:
    with Listing([HandMade("a", "x", "sub!", "deep/er!"), HandMade("b", ".!")]) as listing:
        keys(listing)
    seen = [
        uri for uri in ("sub/1", "sub/2/3", "subs", "deep/1", "deep/er/1") if listing.could_see(("a", uri))
    ]
    assert seen == ["subs", "deep/1"]
    assert not listing.could_see(("b", "1"))


def test_a_file_is_gone_where_an_archive_of_this_run_says_so() -> None:
    listing = Listing([HandMade("a", "1")])
    assert [listing.is_gone(key) for key in (("a", "1"), ("a", "2"), ("b", "2"))] == [False, True, False]


def test_the_meter_tells_the_rate_of_late_and_the_time_left_once_all_is_listed() -> None:
    counts, told, now = Counts(), list[Progress](), 0.0
    with Listing([HandMade("a", *map(str, range(1000)))]) as listing:
        meter = Meter(counts, listing, told.append, clock=lambda: now)
        meter.tell()
        keys(listing)
        # Ten seconds at 10 files and 20 images a second, then forty at 5 files and 5 images.
        for second in range(1, 51):
            now = float(second)
            counts.files += 10 if second <= 10 else 5
            counts.embedded += 20 if second <= 10 else 5
            meter.tell()
    assert (told[0].files, told[0].images_per_second, told[0].seconds_left) == (0, 0.0, None)
    assert told[10] == Progress(100, 1000, 200, True, 20.0, 90.0)
    assert told[50] == Progress(300, 1000, 400, True, 5.0, 140.0)


def test_files_that_need_no_reading_count_neither_for_the_pace_nor_for_what_is_left() -> None:
    counts, told, now = Counts(), list[Progress](), 0.0
    names = [*map(str, range(6000)), *(f"new {number}" for number in range(300))]
    with Listing([HandMade("a", *names)]) as listing:
        meter = Meter(counts, listing, told.append, clock=lambda: now)
        keys(listing, lambda entry: Job(entry) if entry.uri.startswith("new") else None)
        assert (listing.total, listing.to_read) == (6300, 300)
        # Two seconds for the unchanged ones, then ten files and twenty images a second.
        for number in range(6000):
            now = number / 3000
            meter.skip()
        for second in range(2, 33):
            now = float(second)
            if second > 2:
                counts.files += 10
                counts.embedded += 20
            meter.tell()
    after_one, after_ten = (next(one for one in told if one.files == 6000 + n) for n in (10, 100))
    assert after_one.seconds_left == pytest.approx(29, abs=3)
    assert after_ten.seconds_left == pytest.approx(20, abs=0.5)
    assert after_ten.images_per_second == pytest.approx(20, abs=0.5)
    assert told[-1].seconds_left == 0.0
    assert all(one.seconds_left is None for one in told if one.files < 6000)


def test_the_time_left_is_that_of_the_files_still_to_be_read() -> None:
    counts, told, now = Counts(), list[Progress](), 0.0
    names = [*(f"new {number}" for number in range(300)), *map(str, range(6000))]
    with Listing([HandMade("a", *names)]) as listing:
        meter = Meter(counts, listing, told.append, clock=lambda: now)
        keys(listing, lambda entry: Job(entry) if entry.uri.startswith("new") else None)
        for second in range(1, 11):
            now = float(second)
            counts.files += 10
            meter.tell()
    assert told[-1].seconds_left == 20.0  # for 200 files, not for 6200


def test_files_that_need_no_reading_are_told_of_now_and_then() -> None:
    counts, told = Counts(), list[Progress]()
    with Listing([HandMade("a", "1")]) as listing:
        meter = Meter(counts, listing, told.append)
        for _ in range(2 * TOLD_PER_SKIPPED + 1):
            meter.skip()
    assert [now.files for now in told] == [TOLD_PER_SKIPPED, 2 * TOLD_PER_SKIPPED]
    assert counts.files == 2 * TOLD_PER_SKIPPED + 1


def _wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to pass")
