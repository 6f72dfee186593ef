"""Zip files: what only they can hold."""

import os
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from packing import zipped
from test_sources_packed import listed

from indexer.sources import open_source
from indexer.sources import zip as zip_module
from medsiglip_search.errors import ArchiveNotFound, Reason, Unreadable

UNIX, DOS = 3, 0
UTF_8, ENCRYPTED, PATCHED = 0x800, 0x1, 0x20


def pack(
    path: Path,
    name: bytes,
    packed: bytes,
    *,
    size: int,
    crc: int,
    method: int = 8,
    flags: int = 0,
    made_on: int = UNIX,
    mode: int = 0,
) -> Path:
    """Write a zip of one file as its headers are told, true or not (APPNOTE.TXT 4.3)."""
    shared = struct.pack("<4H3L2H", flags, method, 0, 0x21, crc, len(packed), size, len(name), 0)
    local = b"PK\3\4" + struct.pack("<H", 20) + shared + name + packed
    entry = b"PK\1\2" + bytes([20, made_on]) + struct.pack("<H", 20) + shared
    entry += struct.pack("<3H2L", 0, 0, 0, mode << 16, 0) + name
    end = b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 1, 1, len(entry), len(local), 0)
    path.write_bytes(local + entry + end)
    return path


def deflated(content: bytes) -> bytes:
    return zlib.compress(content)[2:-4]


def of_one(path: Path, content: bytes = b"content", name: bytes = b"a", **told: int) -> Path:
    told = {"size": len(content), "crc": zlib.crc32(content)} | told
    return pack(path, name, deflated(content), **told)


def refused(path: Path) -> Unreadable:
    with pytest.raises(Unreadable) as error:
        listed(path)["a"].file.content()
    return error.value


def test_a_zip_written_by_hand_is_read(tmp_path: Path) -> None:
    assert listed(of_one(tmp_path / "a.zip"))["a"].file.content() == b"content"


@pytest.mark.parametrize(
    ("name", "flags", "made_on", "uri"),
    [
        ("käse.dcm".encode(), UTF_8, UNIX, "käse.dcm"),
        ("käse.dcm".encode(), 0, UNIX, "käse.dcm"),  # as macOS writes them
        ("käse.dcm".encode("cp437"), 0, DOS, "käse.dcm"),
        (b"caf\xe9.dcm", 0, UNIX, "caf%E9.dcm"),
        (b"caf\x82.dcm", 0, DOS, "café.dcm"),
        (b"./a//b.dcm", 0, UNIX, "a/b.dcm"),
    ],
)
def test_names_are_read_as_those_meant_them_who_packed(
    tmp_path: Path, name: bytes, flags: int, made_on: int, uri: str
) -> None:
    path = of_one(tmp_path / "a.zip", name=name, flags=flags, made_on=made_on)
    [entry] = listed(path).values()
    assert entry.uri == uri
    assert entry.file.content() == b"content"


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"flags": ENCRYPTED}, "it is encrypted; unpack the archive with its password"),
        ({"mode": 0o120777}, "a link; pack the archive again with what it leads to"),
        ({"mode": 0o010600}, "neither a file nor a folder"),
        ({"mode": 0o100600}, None),
        ({"mode": 0o120777, "made_on": DOS}, None),  # where these bits mean nothing
    ],
)
def test_what_must_not_be_opened_is_an_entry_with_a_problem(
    tmp_path: Path, told: dict[str, int], problem: str | None
) -> None:
    [entry] = listed(of_one(tmp_path / "a.zip", **told)).values()
    assert (entry.uri, entry.problem) == ("a", problem)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"crc": 1}, Reason.MALFORMED),
        ({"size": 3}, Reason.MALFORMED),  # what it inflates to is cut there, and its checksum is another
        ({"size": 8}, Reason.TRUNCATED),
        ({"size": 300 << 20}, Reason.TOO_LARGE),
        ({"size": 3 << 30}, Reason.TOO_LARGE),
        ({"method": 97}, Reason.UNSUPPORTED_CODEC),
        ({"flags": PATCHED}, Reason.UNSUPPORTED_CODEC),
        ({"method": 12}, Reason.MALFORMED),
        ({"method": 14}, Reason.MALFORMED),
    ],
)
def test_a_file_that_is_not_what_its_header_says_is_refused(
    tmp_path: Path, told: dict[str, int], reason: Reason
) -> None:
    assert refused(of_one(tmp_path / "a.zip", **told)).reason is reason


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_is_refused_unopened(tmp_path: Path, method: int) -> None:
    path = zipped(tmp_path / "a.zip", [("a", bytes(24 << 20))], method)
    assert "inflates to far more than pictures do" in str(refused(path))


def test_files_that_share_their_bytes_are_read_once(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("a", b"one"), ("b", b"two")])
    first, _ = zipfile.ZipFile(path).infolist()
    content = bytearray(path.read_bytes())
    second = content.rindex(b"PK\1\2")
    content[second + 42 : second + 46] = struct.pack("<L", first.header_offset + 1)
    path.write_bytes(content)
    assert {uri: entry.problem for uri, entry in listed(path).items()} == {
        "a": None,
        "b": "it shares its bytes with another file",
    }


def test_headers_of_64_bits_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as packed, packed.open("a", "w", force_zip64=True) as file:
        file.write(b"content")
    entry = listed(path)["a"]
    assert (entry.size, entry.file.content()) == (7, b"content")


@pytest.mark.parametrize("damage", ["cut", "name", "long list"])
def test_a_zip_whose_list_is_lost_is_no_archive(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = of_one(tmp_path / "a.zip", name=b"\xff" if damage == "name" else b"a", flags=UTF_8)
    if damage == "cut":
        os.truncate(path, path.stat().st_size - 30)
    if damage == "long list":
        monkeypatch.setattr(zip_module, "MAX_DIRECTORY_BYTES", 40)
    with pytest.raises(ArchiveNotFound, match="or a damaged one"):
        open_source(str(path))
