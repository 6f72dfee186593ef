"""The audit: what is written in it, what is found of changes, and what it does where it cannot be written."""

import fcntl
import json
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from full_disk import largest_file

from medsiglip_search.errors import (
    AuditUnavailable,
    Conflict,
    Forbidden,
    MedSiglipSearchError,
    NotFound,
    TooManyRequests,
    Unauthenticated,
)
from medsiglip_search.service.audit import AuditLog, Event, chain, head, records, verify
from medsiglip_search.service.audit.chain import End
from medsiglip_search.service.audit.record import text_of
from medsiglip_search.service.callers import Caller, Principal, anonymous_caller

MIA = Caller(Principal("mia", "labeller", credential="key 3f9a"), address="10.0.0.7", request_id="r-1")
TOM = Caller(Principal("Tom Ö\n", "reader"), address="10.0.0.8", request_id="r-2")
LOG, HEAD = "audit.jsonl", "audit.head"

# Adds so many records from each of its threads, and tells of each when it is on the disk.
WRITER = """
import os, sys, threading
from pathlib import Path
from medsiglip_search.service.audit import AuditLog, Event
from medsiglip_search.service.callers import Caller, Principal

folder, name, threads, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
caller = Caller(Principal(name, "reader"), "10.0.0.9", "r-3")
log = AuditLog(folder)

def write(thread):
    for number in range(count):
        subject = f"{name}-{thread}-{number}"
        log.record(Event("thumbnail", caller, "chest", [subject, "x" * 200 * (number % 40)]))
        os.write(1, f"{subject}\\n".encode())

for thread in range(threads):
    threading.Thread(target=write, args=(thread,)).start()
"""


def start_writer(folder: Path, name: str, threads: int, count: int) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", WRITER, str(folder), name, str(threads), str(count)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE)


def looked_at(number: int) -> Event:
    return Event("thumbnail", MIA, "chest", [str(number)])


def write_some(folder: Path, count: int = 3) -> None:
    log = AuditLog(folder)
    for number in range(1, count + 1):
        log.record(looked_at(number))
    log.close()


def first_subjects(folder: Path) -> list[str]:
    return [record.subjects[0] for record in records(folder) if record.subjects]


def lines(folder: Path) -> list[bytes]:
    return (folder / LOG).read_bytes().splitlines(keepends=True)


def require_whole(folder: Path, count: int) -> None:
    verification = verify(folder)
    assert (verification.problems, verification.records) == ((), count)
    assert verification.unfinished_bytes == 0


def test_a_record_says_who_did_what_when_and_from_where(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "state")
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    log.record(Event("search", MIA, "chest", ["12", "7"], {"hits": 2, "share": 0.5, "more": None}))
    log.record(Event("login", anonymous_caller("10.0.0.66", "r-9"), outcome="refused"))
    first, second = records(tmp_path / "state")
    assert (first.seq, first.who, first.credential, first.role) == (1, "mia", "key 3f9a", "labeller")
    assert (first.address, first.request_id, first.action, first.gallery) == (
        "10.0.0.7",
        "r-1",
        "search",
        "chest",
    )
    assert (first.subjects, first.details) == (("12", "7"), {"hits": 2, "share": 0.5, "more": None})
    assert (first.outcome, first.previous) == ("done", "0" * 64)
    assert before <= datetime.fromisoformat(first.time) <= datetime.now(UTC)
    assert (second.seq, second.who, second.role, second.address) == (2, "nobody", "reader", "10.0.0.66")
    assert (second.gallery, second.subjects, second.outcome) == (None, (), "refused")
    assert second.previous == first.hash
    fields = json.loads(lines(tmp_path / "state")[0])
    assert list(fields) == [
        *("seq", "time", "who", "credential", "role", "from", "request_id", "action", "gallery"),
        *("subjects", "details", "outcome", "previous", "hash"),
    ]


def test_nobody_may_use_a_gallery() -> None:
    assert anonymous_caller("10.0.0.66", "r-9").seen(["chest", "head"]) == []


def test_only_the_service_may_read_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "state"
    write_some(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {LOG: 0o600, HEAD: 0o600}


def test_no_name_can_end_a_line(tmp_path: Path) -> None:
    AuditLog(tmp_path).record(Event("logout", TOM))
    require_whole(tmp_path, 1)
    assert [record.who for record in records(tmp_path)] == ["Tom Ö\n"]


def test_what_has_no_place_in_json_is_refused_and_leaves_no_gap(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        log.record(Event("search", MIA, details={"score": float("nan")}))
    log.record(looked_at(1))
    require_whole(tmp_path, 1)


def test_records_are_found_by_who_what_and_when(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    for caller in (MIA, TOM, MIA):
        log.record(Event("search", caller))
        log.record(Event("export", caller))
    assert [record.seq for record in records(tmp_path, who="mia")] == [1, 2, 5, 6]
    assert [record.seq for record in records(tmp_path, action="export")] == [2, 4, 6]
    assert [record.seq for record in records(tmp_path, who="mia", last=3)] == [2, 5, 6]
    third = datetime.fromisoformat(list(records(tmp_path))[2].time)
    since, until = records(tmp_path, since=third), records(tmp_path, until=third)
    assert [record.seq for record in since][-4:] == [3, 4, 5, 6]
    assert [record.seq for record in until] in ([], [1], [1, 2])
    assert list(records(tmp_path, since=datetime.now(UTC) + timedelta(hours=1))) == []


# What was changed is found


def test_one_byte_changed_anywhere_is_found(tmp_path: Path) -> None:
    write_some(tmp_path)
    content = (tmp_path / LOG).read_bytes()
    for place in range(len(content)):
        number = content[:place].count(b"\n") + 1
        for byte in {content[place] ^ 1, content[place] ^ 0x20, ord("\n")} - {content[place]}:
            (tmp_path / LOG).write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
            verification = verify(tmp_path)
            assert verification.problems, f"byte {place}"
            assert verification.problems[0].startswith(f"record {number} ")
            assert verification.records == number - 1


def test_one_byte_changed_anywhere_in_the_head_is_found(tmp_path: Path) -> None:
    write_some(tmp_path, 12)
    content = (tmp_path / HEAD).read_bytes()
    for place in range(len(content)):
        for byte in {content[place] ^ 1, content[place] ^ 0x20, ord("0"), ord("\t")} - {content[place]}:
            (tmp_path / HEAD).write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
            assert verify(tmp_path).problems, f"byte {place} to {byte}"


@pytest.mark.parametrize("removed", range(1, 6))
def test_a_record_taken_out_is_found(tmp_path: Path, removed: int) -> None:
    write_some(tmp_path, 5)
    kept = lines(tmp_path)
    del kept[removed - 1]
    (tmp_path / LOG).write_bytes(b"".join(kept))
    verification = verify(tmp_path)
    assert verification.records == removed - 1
    assert verification.problems[0].startswith(f"record {removed} is ")


@pytest.mark.parametrize("place", range(1, 7))
def test_a_record_put_in_is_found(tmp_path: Path, place: int) -> None:
    write_some(tmp_path, 5)
    more = lines(tmp_path)
    more.insert(place - 1, more[2])
    (tmp_path / LOG).write_bytes(b"".join(more))
    # Before and behind the third itself there are then two of it.
    expected = 4 if place == 3 else place
    assert verify(tmp_path).problems == (f"record {expected} is not in its place: another one stands there",)


def test_records_that_changed_places_are_found(tmp_path: Path) -> None:
    write_some(tmp_path, 5)
    one, two, three, four, five = lines(tmp_path)
    (tmp_path / LOG).write_bytes(b"".join([one, two, four, three, five]))
    assert verify(tmp_path).problems == ("record 3 is not in its place: another one stands there",)


def test_a_record_of_another_audit_is_found(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_some(tmp_path / name, 3)
    mixed = [*lines(tmp_path / "one")[:2], *lines(tmp_path / "two")[2:]]
    (tmp_path / "one" / LOG).write_bytes(b"".join(mixed))
    assert verify(tmp_path / "one").problems == ("record 3 is not in its place: another one stands there",)


def test_an_end_cut_off_anywhere_is_found(tmp_path: Path) -> None:
    write_some(tmp_path)
    content = (tmp_path / LOG).read_bytes()
    for length in range(len(content)):
        (tmp_path / LOG).write_bytes(content[:length])
        number = content[:length].count(b"\n") + 1
        cut = not content[:length].endswith(b"\n") and length > 0
        assert verify(tmp_path).problems == (
            f"record {number} is {'cut short' if cut else 'gone'}: {HEAD} names 3 records",
        )


@pytest.mark.parametrize("name", [LOG, HEAD])
def test_a_file_taken_away_is_found(tmp_path: Path, name: str) -> None:
    write_some(tmp_path)
    (tmp_path / name).unlink()
    assert verify(tmp_path).problems == (f"{name} is gone",)
    with pytest.raises(AuditUnavailable):
        AuditLog(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [HEAD if name == LOG else LOG]


def test_a_record_whose_hash_fits_but_not_its_number_is_found(tmp_path: Path) -> None:
    write_some(tmp_path)
    end = head.read(tmp_path)
    line, _ = chain.add(End(end.seq + 1, end.hash, end.size), text_of(looked_at(4)))
    with (tmp_path / LOG).open("ab") as log:
        log.write(line)
    assert verify(tmp_path).problems == ("record 4 is not in its place: another one stands there",)


def test_a_line_that_fits_but_is_no_record_is_found(tmp_path: Path) -> None:
    write_some(tmp_path)
    line, _ = chain.add(head.read(tmp_path), '"time":4')
    with (tmp_path / LOG).open("ab") as log:
        log.write(line)
    assert verify(tmp_path).problems == ("record 4 is none of the audit's",)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"seq": null, "hash": "", "size": 0}', "[" * 100_000])
def test_a_head_of_anything_else_is_found(tmp_path: Path, content: str) -> None:
    write_some(tmp_path)
    (tmp_path / HEAD).write_text(content.ljust(159) + "\n")
    assert verify(tmp_path).problems == (f"{HEAD} was changed",)
    with pytest.raises(AuditUnavailable, match=f"{HEAD} was changed"):
        AuditLog(tmp_path)


def test_a_head_of_long_ago_is_found(tmp_path: Path) -> None:
    write_some(tmp_path)
    old = (tmp_path / HEAD).read_bytes()
    write_some(tmp_path, 257)
    (tmp_path / HEAD).write_bytes(old)
    assert verify(tmp_path).problems == (
        f"record 4 and those after it are not in {HEAD}, which is an older one",
    )
    with pytest.raises(AuditUnavailable, match="more records than can be"):
        AuditLog(tmp_path)


def test_where_there_is_no_audit_none_is_called_whole(tmp_path: Path) -> None:
    with pytest.raises(AuditUnavailable, match="no audit here"):
        verify(tmp_path)


def test_nothing_is_added_to_an_end_that_was_changed(tmp_path: Path) -> None:
    write_some(tmp_path)
    content = (tmp_path / LOG).read_bytes()
    for damaged in (content[:-1], content[:-5] + b"!" + content[-4:], b"".join(lines(tmp_path)[:2]), b""):
        (tmp_path / LOG).write_bytes(damaged)
        with pytest.raises(AuditUnavailable, match=r"the audit is damaged .* run audit verify"):
            AuditLog(tmp_path)
        assert (tmp_path / LOG).read_bytes() == damaged


# What a killed process leaves is no damage


def test_a_kill_at_any_byte_of_a_write_is_no_damage_and_the_next_one_goes_on(tmp_path: Path) -> None:
    before, after, now = (tmp_path / name for name in ("before", "after", "now"))
    write_some(before, 2)
    shutil.copytree(before, after)
    write_some(after, 2)
    content, kept = (after / LOG).read_bytes(), len((before / LOG).read_bytes())
    for length in range(kept, len(content) + 1):
        shutil.copytree(before, now)
        (now / LOG).write_bytes(content[:length])
        whole = content[:length].count(b"\n")
        rest = length - content.rfind(b"\n", 0, length) - 1
        verification = verify(now)
        assert (verification.records, verification.problems) == (whole, ())
        assert verification.unfinished_bytes == rest
        AuditLog(now).record(looked_at(99))
        require_whole(now, whole + (2 if rest else 1))
        assert lines(now)[:whole] == lines(after)[:whole]
        mended = [record for record in records(now) if record.action == "mended"]
        assert [record.details for record in mended] == ([{"bytes_taken_off": rest}] if rest else [])
        shutil.rmtree(now)


@pytest.mark.parametrize("rest", [b"{", b'{"seq":4,"time' * 60], ids=["short", "long"])
def test_a_kill_while_a_cut_line_is_replaced_is_no_damage(tmp_path: Path, rest: bytes) -> None:
    before, after, now = (tmp_path / name for name in ("before", "after", "now"))
    write_some(before)
    content = (before / LOG).read_bytes()
    shutil.copytree(before, after)
    (after / LOG).write_bytes(content + rest)
    AuditLog(after)
    mark = lines(after)[3]
    for length in (*range(0, len(mark), 9), len(mark) - 1, len(mark)):
        shutil.copytree(before, now)
        (now / LOG).write_bytes(content + mark[:length] + rest[length:])
        assert verify(now).problems == ()
        AuditLog(now)
        verification = verify(now)
        assert (verification.problems, verification.unfinished_bytes) == ((), 0)
        assert {record.action for record in list(records(now))[3:]} == {"mended"}
        shutil.rmtree(now)


def test_what_another_process_left_when_it_was_killed_is_mended_by_one_that_lives(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.record(looked_at(1))
    with (tmp_path / LOG).open("ab") as other:
        other.write(b'{"seq":2')
    log.record(looked_at(3))
    require_whole(tmp_path, 3)
    assert [record.action for record in records(tmp_path)] == ["thumbnail", "mended", "thumbnail"]


def test_a_log_that_was_copied_back_is_gone_on_with(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.record(looked_at(1))
    shutil.copy(tmp_path / LOG, tmp_path / "copy")
    (tmp_path / "copy").replace(tmp_path / LOG)
    log.record(looked_at(2))
    require_whole(tmp_path, 2)


def test_a_kill_before_the_first_record_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / LOG).touch()
    require_whole(tmp_path, 0)
    write_some(tmp_path)
    require_whole(tmp_path, 3)


def test_a_killed_process_loses_nothing_that_it_was_told_is_recorded(tmp_path: Path) -> None:
    choose = random.Random(7)
    told: set[str] = set()
    for turn in range(12):
        with start_writer(tmp_path, f"turn{turn}", threads=6, count=100_000) as writer:
            assert writer.stdout is not None
            for _ in range(choose.randint(1, 80)):
                told.add(writer.stdout.readline().decode().strip())
            writer.kill()
            # A line that the kill cut in two was told all the same, but not to anybody who could read it.
            told |= {line.decode().strip() for line in writer.stdout if line.endswith(b"\n")}
        assert verify(tmp_path).problems == ()
        assert told <= set(first_subjects(tmp_path))
    write_some(tmp_path)
    assert verify(tmp_path).problems == ()


# Many at once


def test_threads_that_write_at_once_make_one_chain(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    together = threading.Barrier(20)

    def look(thread: int) -> None:
        together.wait()
        for number in range(10):
            log.record(looked_at(10 * thread + number))

    threads = [threading.Thread(target=look, args=(thread,)) for thread in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    require_whole(tmp_path, 200)
    assert sorted(map(int, first_subjects(tmp_path))) == list(range(200))


def test_more_threads_than_fit_into_one_write_are_all_recorded(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    threads = [threading.Thread(target=log.record, args=(looked_at(number),)) for number in range(600)]
    with held(tmp_path):
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    require_whole(tmp_path, 600)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Nobody can add to the audit meanwhile, and who wants to waits."""
    with (folder / LOG).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_two_processes_that_write_at_once_make_one_chain(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, name, threads=3, count=40) for name in ("a", "b")]
    log = AuditLog(tmp_path)
    for number in range(40):
        log.record(looked_at(number))
    told = [writer.communicate()[0].decode().split() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    log.record(looked_at(40))
    require_whole(tmp_path, 2 * 3 * 40 + 41)
    assert sorted(first_subjects(tmp_path)) == sorted([*told[0], *told[1], *map(str, range(41))])


def test_an_audit_is_whole_while_it_is_written(tmp_path: Path) -> None:
    AuditLog(tmp_path)
    with start_writer(tmp_path, "a", threads=4, count=100_000) as writer:
        assert writer.stdout is not None
        counts = []
        for _ in range(10):
            writer.stdout.readline()
            verification = verify(tmp_path)
            assert (verification.problems, verification.unfinished_bytes) == ((), 0)
            counts.append(verification.records)
            list(records(tmp_path))
        writer.kill()
    assert counts == sorted(counts)
    assert counts[0] > 0


# Where it cannot be written


def test_a_full_disk_is_told_and_the_chain_goes_on_when_there_is_room(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.record(looked_at(1))
    content = (tmp_path / LOG).read_bytes()
    for room in (0, 1, 200, len(content) - 1):
        with largest_file(len(content) + room), pytest.raises(AuditUnavailable, match="cannot be written"):
            log.record(looked_at(2))
        assert (tmp_path / LOG).read_bytes() == content
        require_whole(tmp_path, 1)
    log.record(looked_at(3))
    require_whole(tmp_path, 2)
    assert first_subjects(tmp_path) == ["1", "3"]


def test_a_full_disk_is_told_to_every_thread_that_waits(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.record(looked_at(1))
    refused = []

    def look() -> None:
        with pytest.raises(AuditUnavailable):
            log.record(looked_at(2))
        refused.append(True)

    with largest_file((tmp_path / LOG).stat().st_size + 100):
        threads = [threading.Thread(target=look) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert refused == [True] * 10
    log.record(looked_at(3))
    require_whole(tmp_path, 2)


def test_a_cut_line_stays_no_damage_where_there_is_no_room_to_replace_it(tmp_path: Path) -> None:
    write_some(tmp_path)
    size = (tmp_path / LOG).stat().st_size
    with (tmp_path / LOG).open("ab") as log:
        log.write(b'{"seq":4')
    for room in (9, 100):
        with largest_file(size + room), pytest.raises(AuditUnavailable, match="cannot be written"):
            AuditLog(tmp_path)
        assert verify(tmp_path).problems == ()
    AuditLog(tmp_path)
    require_whole(tmp_path, 4)


def test_a_folder_that_is_gone_is_told_and_used_again_when_it_is_back(tmp_path: Path) -> None:
    state = tmp_path / "state"
    log = AuditLog(state)
    log.record(looked_at(1))
    state.rename(tmp_path / "away")
    with pytest.raises(AuditUnavailable, match="No such file or directory"):
        log.record(looked_at(2))
    state.mkdir()
    with pytest.raises(AuditUnavailable, match="No such file or directory"):
        log.record(looked_at(3))
    assert list(state.iterdir()) == []
    state.rmdir()
    (tmp_path / "away").rename(state)
    log.record(looked_at(4))
    require_whole(state, 2)
    assert first_subjects(state) == ["1", "4"]


@pytest.mark.parametrize("name", [LOG, HEAD])
def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path, name: str) -> None:
    log = AuditLog(tmp_path)
    log.record(looked_at(1))
    (tmp_path / name).rename(tmp_path / "away")
    (tmp_path / name).mkdir()
    with pytest.raises(AuditUnavailable, match="Is a directory"):
        log.record(looked_at(2))
    with pytest.raises(AuditUnavailable, match="Is a directory"):
        verify(tmp_path)
    (tmp_path / name).rmdir()
    (tmp_path / "away").rename(tmp_path / name)
    log.record(looked_at(3))
    require_whole(tmp_path, 2)


def test_an_audit_put_back_to_an_earlier_state_is_told(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "state")
    log.record(looked_at(1))
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    log.record(looked_at(2))
    shutil.rmtree(tmp_path / "state")
    (tmp_path / "copy").rename(tmp_path / "state")
    with pytest.raises(AuditUnavailable, match="is an older one"):
        log.record(looked_at(3))


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / LOG).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditUnavailable):
        AuditLog(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_what_is_told_of_a_failure_has_no_path(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "state")
    shutil.rmtree(tmp_path / "state")
    with pytest.raises(AuditUnavailable) as refusal:
        log.record(looked_at(1))
    assert str(tmp_path) not in str(refusal.value)
    assert "\n" not in str(refusal.value)


# Operations that are watched


def outcomes(folder: Path) -> list[tuple[str, str, tuple[str, ...], dict[str, object]]]:
    return [(one.action, one.outcome, one.subjects, dict(one.details)) for one in records(folder)]


def test_an_operation_is_recorded_when_it_has_ended(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    with log.watch(MIA, "search", "chest") as entry:
        entry.subjects.extend(["3", "9"])
        entry.details["hits"] = 2
        assert outcomes(tmp_path) == []
    assert outcomes(tmp_path) == [("search", "done", ("3", "9"), {"hits": 2})]
    assert [(record.who, record.gallery) for record in records(tmp_path)] == [("mia", "chest")]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Forbidden("no"), "refused"),
        (NotFound("no"), "refused"),
        (Unauthenticated("no"), "refused"),
        (TooManyRequests("no", 3.0), "refused"),
        (Conflict("no"), "failed"),
        (MedSiglipSearchError("no"), "failed"),
        (ZeroDivisionError(), "failed"),
        (KeyboardInterrupt(), "failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_operation_that_raises_is_recorded_and_its_error_goes_on(
    tmp_path: Path, error: BaseException, outcome: str
) -> None:
    log = AuditLog(tmp_path)

    def look() -> None:
        with log.watch(MIA, "picture") as entry:
            entry.subjects.append("5")
            raise error

    with pytest.raises(type(error)) as raised:
        look()
    assert raised.value is error
    assert outcomes(tmp_path) == [("picture", outcome, ("5",), {})]


@pytest.mark.parametrize("error", [None, NotFound("no"), ValueError("no")], ids=["done", "refused", "failed"])
def test_an_operation_that_cannot_be_recorded_has_no_result(tmp_path: Path, error: Exception | None) -> None:
    log = AuditLog(tmp_path / "state")

    def export() -> None:
        with log.watch(MIA, "export"):
            (tmp_path / "state").rename(tmp_path / "away")
            if error is not None:
                raise error

    with pytest.raises(AuditUnavailable):
        export()
