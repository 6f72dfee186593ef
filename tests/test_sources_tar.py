"""Tar files: what only they can hold, and how often a compressed one is inflated."""

import gzip
import lzma
import os
import random
import subprocess
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from packing import tar
from test_sources_packed import listed

from indexer.sources import bounds, open_source
from indexer.sources import tar as tar_module
from medsiglip_search.errors import ArchiveNotFound, Reason, Unreadable

CUT = (
    "the archive is damaged or cut after the first {} of its files, and no more can be listed; "
    "copy it again from its source"
)


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size = kind, size
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def raw(path: Path, *parts: bytes, end: bytes = bytes(1024)) -> Path:
    path.write_bytes(b"".join(parts) + end)
    return path


def member(name: str, content: bytes) -> bytes:
    return header(name, size=len(content)).tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def with_size(block: bytes, field: bytes) -> bytes:
    """Return a header with its twelve bytes of size as given, and the checksum that fits."""
    block = block[:124] + field + block[136:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def problems(path: Path) -> dict[str, str | None]:
    return {uri: entry.problem for uri, entry in listed(path).items()}


def test_links_pipes_and_devices_are_entries_with_a_problem(tmp_path: Path) -> None:
    kinds = {
        "symbolic": (tarfile.SYMTYPE, "a link; pack the archive again with --dereference"),
        "hard": (tarfile.LNKTYPE,
                 "a link to another file of the archive; pack it again with --hard-dereference"),
        "pipe": (tarfile.FIFOTYPE, "neither a file nor a folder"),
        "disk": (tarfile.BLKTYPE, "neither a file nor a folder"),
        "terminal": (tarfile.CHRTYPE, "neither a file nor a folder"),
    }  # fmt: skip
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w") as packed:
        packed.addfile(header("folder", tarfile.DIRTYPE))
        for name, (kind, _) in kinds.items():
            packed.addfile(header(name, kind, linkname="/etc/passwd"))
    assert problems(path) == {name: problem for name, (_, problem) in kinds.items()}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_are_read_as_they_were_written(tmp_path: Path, format: int) -> None:
    names = ["käse 100%.dcm", os.fsdecode(b"caf\xe9.dcm"), "/".join(["d" * 60] * 4) + "/1.dcm"]
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w", format=format, errors="surrogateescape") as packed:
        for name in names[: 2 if format == tarfile.USTAR_FORMAT else 3]:
            packed.addfile(header(name))
    uris = ["käse 100%.dcm", "caf%E9.dcm", names[2]]
    assert list(listed(path)) == uris[: 2 if format == tarfile.USTAR_FORMAT else 3]


def test_holes_of_a_sparse_file_are_filled(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        for place in (1 << 20, 5 << 20):
            file.seek(place)
            file.write(b"some bytes")
        file.truncate(8 << 20)
    for format in ("gnu", "pax"):
        archive = tmp_path / f"{format}.tar"
        command = ["tar", "--sparse", f"--format={format}", "-C", tmp_path, "-cf", archive, "sparse"]
        subprocess.run(command, check=True)
        assert archive.stat().st_size < 1 << 20
        [entry] = listed(archive).values()
        assert (entry.uri, entry.size) == ("sparse", 8 << 20)
        assert entry.file.content() == path.read_bytes()


def test_what_was_listed_before_the_damage_stays_and_the_rest_is_told_once(tmp_path: Path) -> None:
    files = [(name, name.encode() * 700) for name in "abcd"]
    whole = tar(tmp_path / "whole.tar", files).read_bytes()
    broken = raw(tmp_path / "broken.tar", whole[: 2 * 1536], b"\xff" * 512, whole[2 * 1536 + 512 :], end=b"")
    assert problems(broken) == {"a": None, "b": None, ".": CUT.format(2)}
    source = open_source(str(broken))
    assert source.holds("a")
    assert source.holds("d")  # for all one knows
    within = raw(tmp_path / "within.tar", whole[: 2 * 1536 + 700], end=b"")
    assert problems(within) == {"a": None, "b": None, "c": None, ".": CUT.format(3)}
    with pytest.raises(Unreadable, match="ends within it") as error:
        listed(within)["c"].file.content()
    assert error.value.reason is Reason.TRUNCATED
    assert problems(raw(tmp_path / "no_end.tar", whole[: 4 * 1536], end=b"")) == {
        **dict.fromkeys("abcd"),
        ".": CUT.format(4),
    }


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_block_of_zeros_is_the_end_only_where_nothing_follows_it(tmp_path: Path, mode: str) -> None:
    files = [(name, name.encode() * 700) for name in "abcd"]
    whole = tar(tmp_path / "whole.tar", files).read_bytes()
    pack = gzip.compress if mode == "w:gz" else bytes
    lost = raw(tmp_path / "lost", pack(whole[: 2 * 1536] + bytes(512) + whole[2 * 1536 + 512 :]), end=b"")
    assert problems(lost) == {"a": None, "b": None, ".": CUT.format(2)}
    assert open_source(str(lost)).holds("d")
    joined = raw(tmp_path / "joined", pack(whole + whole), end=b"")
    assert problems(joined) == {**dict.fromkeys("abcd"), ".": CUT.format(4)}
    for zeros in (512, 10240, 3 << 20):
        padded = raw(tmp_path / "padded", pack(whole[: 4 * 1536] + bytes(zeros)), end=b"")
        assert problems(padded) == dict.fromkeys("abcd")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_without_a_file_is_one_and_other_zeros_are_not(tmp_path: Path, mode: str) -> None:
    assert problems(tar(tmp_path / "empty.tar", [], mode)) == {}
    disk = raw(tmp_path / "disk.img", bytes(32768), b"CD001")
    with pytest.raises(ArchiveNotFound, match="neither a folder nor a tar or zip file"):
        open_source(str(disk))


@pytest.mark.parametrize(
    "hostile",
    [
        with_size(member("b", b""), b"\x80" + b"\xff" * 11),
        with_size(member("b", b""), b"\xff" * 10 + b"\xfe\x00"),  # -512: the same header for ever
        with_size(member("././@LongLink", b"")[:156] + b"L" + bytes(355), b"77777777777\0"),
        with_size(member("pax", b"")[:156] + b"x" + bytes(355), b"77777777777\0"),
        with_size(member("pax", b"")[:156] + b"x" + bytes(355), b"%011o\0" % (2 << 20)) + bytes(2 << 20),
        (member("pax", b"30 size=9999999999999999999999\n")[:156] + b"x"
         + member("pax", b"30 size=9999999999999999999999\n")[157:]),
        b"".join(with_size(member("p", b"")[:156] + b"x" + bytes(355), b"%011o\0" % 0) for _ in range(3000)),
    ],
    ids=["huge", "negative", "long name", "long attributes", "many attributes", "by attribute", "nested"],
)  # fmt: skip
def test_a_header_that_lies_ends_the_list_and_nothing_else(tmp_path: Path, hostile: bytes) -> None:
    found = problems(raw(tmp_path / "archive.tar", member("a", b"x"), hostile, member("c", b"x")))
    assert found["a"] is None
    assert "cut after the first" in (found["."] or "")
    assert "c" not in found


def test_times_that_are_no_numbers_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as packed:
        for time in ("nan", "inf", "-1e300", "x"):
            packed.addfile(header(time, pax_headers={"mtime": time}))
    assert problems(path) == dict.fromkeys(("nan", "inf", "-1e300", "x"))


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_bomb_is_not_inflated_to_its_end(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    small = member("a", b"x")
    bomb = header("bomb", size=32 << 20).tobuf() + bytes(32 << 20)
    path = raw(tmp_path / "bomb.tar.gz", compress(small + bomb + small + bytes(1024)), end=b"")
    told = "the archive inflates to far more than pictures do after the first 2 of its files; "
    assert problems(path) == {"a": None, "bomb": None, ".": f"{told}unpack it into a folder"}
    with pytest.raises(Unreadable, match="Unpack it") as error:
        listed(path)["bomb"].file.content()
    assert error.value.reason is Reason.TOO_LARGE


def test_more_files_than_can_be_held_end_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tar(tmp_path / "archive.tar", [(name, b"") for name in "abcd"])
    monkeypatch.setattr(tar_module, "MAX_MEMBERS", 3)
    assert problems(path) == {**dict.fromkeys("abc"), ".": CUT.format(3)}


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by one whenever a file is inflated from its beginning."""
    begun: list[int] = []

    class Counted(gzip.GzipFile):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            begun.append(1)
            super().__init__(*arguments, **named)

    monkeypatch.setattr(gzip, "GzipFile", Counted)
    return begun


def test_threads_that_read_side_by_side_inflate_a_tar_once(tmp_path: Path, passes: list[int]) -> None:
    files = {f"{number}": random.randbytes(number * 50) for number in range(200)}
    entries = listed(tar(tmp_path / "archive.tar.gz", files.items(), "w:gz"))
    passes.clear()
    with ThreadPoolExecutor(8) as threads:
        read = list(threads.map(lambda entry: entry.file.content(), entries.values()))
    assert read == list(files.values())
    assert len(passes) == 1


def test_looking_ahead_into_tables_costs_one_pass(
    tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_module, "STASH_BYTES", 600)
    files = {f"{number}": random.randbytes(500) for number in range(50)}
    entries = list(listed(tar(tmp_path / "archive.tar.gz", files.items(), "w:gz")).values())
    passes.clear()
    for near, far in zip(entries[:20], entries[25:45], strict=True):
        assert [far.file.content(), near.file.content()] == [files[far.uri], files[near.uri]]
    assert len(passes) == 2


def test_what_lies_too_far_back_is_inflated_again(
    tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{number}": random.randbytes(1000) for number in range(9)}
    entries = listed(tar(tmp_path / "archive.tar.gz", files.items(), "w:gz"))
    passes.clear()
    monkeypatch.setattr(tar_module, "STASH_BYTES", 2000)
    read = {uri: entries[uri].file.content() for uri in ("8", "7", "6", "5")}
    assert read == {uri: files[uri] for uri in read}
    assert len(passes) == 2  # 7 and 6 were stashed


def test_bounds_let_pictures_through() -> None:
    assert not bounds.is_bomb(inflated=20 << 30, packed=1 << 30)
    assert not bounds.is_bomb(inflated=16 << 20, packed=1)
    assert bounds.is_bomb(inflated=300 << 20, packed=1 << 20)
