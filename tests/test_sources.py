"""Folders as archives: what counts as a file, under which name, in which order."""

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from indexer.sources import Entry, open_source
from medsiglip_search.errors import ArchiveNotFound


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def listed(folder: Path, leave_out: tuple[Path, ...] = ()) -> dict[str, Entry]:
    entries = list(open_source(str(folder), leave_out).entries())
    assert len({entry.uri for entry in entries}) == len(entries)
    return {entry.uri: entry for entry in entries}


def test_every_file_is_listed_sorted_within_its_folder_hidden_ones_too(tmp_path: Path) -> None:
    for name in ("b/2.dcm", "b/10.dcm", "a.png", "B.PNG", ".hidden/c", "b.txt"):
        write(tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert list(listed(tmp_path)) == [".hidden/c", "B.PNG", "a.png", "b/10.dcm", "b/2.dcm", "b.txt"]


def test_an_entry_carries_size_and_time_of_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a", b"four")
    os.utime(path, ns=(1, 1_600_000_000_123_456_789))
    (entry,) = listed(tmp_path).values()
    assert (entry.size, entry.mtime_ns) == (4, 1_600_000_000_123_456_789)
    assert entry.file.content() == path
    assert entry.archive == str(tmp_path)
    assert entry.problem is None


def test_an_archive_has_one_name_however_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "archive" / "a")
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    monkeypatch.chdir(tmp_path)
    for written in ("archive", "archive/", "./archive/../archive", "link", str(tmp_path / "archive")):
        assert open_source(written).archive == str(tmp_path / "archive")


def test_a_link_to_a_file_counts_under_its_own_name(tmp_path: Path) -> None:
    write(tmp_path / "store" / "real.dcm", b"pixels")
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "study.dcm").symlink_to("../store/real.dcm")
    assert {uri: entry.size for uri, entry in listed(archive).items()} == {"study.dcm": 6}


def test_a_linked_folder_outside_is_walked_once_and_files_inside_keep_their_real_name(tmp_path: Path) -> None:
    write(tmp_path / "disk" / "1.dcm")
    archive = tmp_path / "archive"
    write(archive / "z" / "2.dcm")
    (archive / "a").symlink_to(archive / "z")
    (archive / "year1").symlink_to(tmp_path / "disk")
    (archive / "year2").symlink_to(tmp_path / "disk")
    assert list(listed(archive)) == ["z/2.dcm", "year1/1.dcm"]


def test_loops_of_folder_links_end_and_bring_nothing_from_beside_the_archive(tmp_path: Path) -> None:
    write(tmp_path / "beside.dcm")
    archive = tmp_path / "archive"
    write(archive / "a" / "1.dcm")
    (archive / "a" / "self").symlink_to(archive / "a")
    (archive / "a" / "root").symlink_to(archive)
    (archive / "up").symlink_to(tmp_path)
    write(tmp_path / "disk" / "2.dcm")
    (tmp_path / "disk" / "back").symlink_to(archive)
    (archive / "disk").symlink_to(tmp_path / "disk")
    assert list(listed(archive)) == ["a/1.dcm", "disk/2.dcm"]


def test_broken_and_looping_links_are_entries_with_a_problem(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "x").symlink_to("y")
    (tmp_path / "y").symlink_to("x")
    write(tmp_path / "good")
    problems = {uri: entry.problem for uri, entry in listed(tmp_path).items()}
    assert problems == {
        "broken": "cannot be read: no such file or directory",
        "good": None,
        "x": "cannot be read: too many levels of symbolic links",
        "y": "cannot be read: too many levels of symbolic links",
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a file system without FIFOs")
def test_pipes_and_sockets_are_entries_with_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    assert {uri: entry.problem for uri, entry in listed(tmp_path).items()} == {
        "fifo": "neither a file nor a folder",
        "socket": "neither a file nor a folder",
    }


def test_a_folder_that_cannot_be_listed_is_an_entry_with_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "closed" / "1.dcm")
    write(tmp_path / "open" / "2.dcm")
    real_listdir = os.listdir

    def listdir(path: Path) -> list[str]:  # permissions do not stop root, as whom tests often run
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real_listdir(path)

    monkeypatch.setattr(os, "listdir", listdir)
    entries = listed(tmp_path)
    assert entries["closed"].problem == "cannot be read: permission denied"
    assert entries["open/2.dcm"].problem is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take UTF-8 names only")
def test_a_name_in_latin_1_is_storable_and_its_file_can_be_read(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.dcm")).write_bytes(b"pixels")
    write(tmp_path / "käse 100%.dcm")
    entries = listed(tmp_path)
    assert sorted(entries) == ["caf%E9.dcm", "käse 100%.dcm"]
    assert Path(entries["caf%E9.dcm"].file.content()).read_bytes() == b"pixels"
    for uri in entries:
        uri.encode()  # raises on a surrogate


def test_names_that_differ_in_case_are_two_files(tmp_path: Path) -> None:
    for name in ("a.dcm", "A.dcm", "a.DCM"):
        write(tmp_path / name, name.encode())
    if len(os.listdir(tmp_path)) < 3:
        pytest.skip("a file system that takes them for one")
    entries = listed(tmp_path)
    assert [Path(entry.file.content()).read_text() for entry in entries.values()] == list(entries)
    assert list(entries) == ["A.dcm", "a.DCM", "a.dcm"]


def test_what_vanishes_while_it_is_listed_is_an_entry_with_a_problem(tmp_path: Path) -> None:
    for name in ("a/1", "b/2", "c", "d/3"):
        write(tmp_path / name)
    entries = open_source(str(tmp_path)).entries()
    assert next(entries).uri == "a/1"
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "c").unlink()
    gone = "cannot be read: no such file or directory"
    assert {entry.uri: entry.problem for entry in entries} == {"b": gone, "c": gone, "d/3": None}


def test_an_archive_that_vanishes_is_one_entry_with_a_problem(tmp_path: Path) -> None:
    write(tmp_path / "archive" / "a")
    source = open_source(str(tmp_path / "archive"))
    shutil.rmtree(tmp_path / "archive")
    [entry] = source.entries()
    assert (entry.uri, entry.problem) == (".", "cannot be read: no such file or directory")


def test_a_file_is_held_until_it_is_surely_gone(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.dcm")
    write(tmp_path / "caf%E9")
    (tmp_path / "x").symlink_to("y")
    (tmp_path / "y").symlink_to("x")
    if sys.platform == "linux":
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xe9")).touch()
    held = {
        "a/1.dcm": True,
        "a/2.dcm": False,
        "b/1.dcm": False,
        "a/1.dcm/x": False,
        "null\0": False,
        "caf%E9": True,
        "b%E9": sys.platform == "linux",
        "x/1.dcm": True,  # behind what cannot be opened
    }
    source = open_source(str(tmp_path))
    assert {uri: source.holds(uri) for uri in held} == held


def test_an_archive_inside_another_has_its_own_names(tmp_path: Path) -> None:
    write(tmp_path / "year" / "a.dcm")
    assert list(listed(tmp_path)) == ["year/a.dcm"]
    assert list(listed(tmp_path / "year")) == ["a.dcm"]


def test_long_paths_are_listed(tmp_path: Path) -> None:
    uri = "/".join(["d" * 100] * 3 + ["1.dcm"])
    write(tmp_path / uri)
    assert list(listed(tmp_path)) == [uri]


def test_what_is_left_out_is_not_listed(tmp_path: Path) -> None:
    write(tmp_path / "gallery" / "images.lance" / "data")
    table = write(tmp_path / "metadata.csv")
    write(tmp_path / "a.png")
    assert list(listed(tmp_path, (tmp_path / "gallery", table, tmp_path / "absent"))) == ["a.png"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "no such archive"),
        ("fifo", "neither a folder nor a tar or zip file"),
        ("file", "neither a folder nor a tar or zip file"),
        ("loop", "no such archive"),
        ("null\0", "no such archive"),
        ("", "no archive given"),
    ],
)
def test_no_archive_is_an_error_that_says_what_to_give(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ArchiveNotFound, match=message):
        open_source(str(tmp_path / name) if name else "")
