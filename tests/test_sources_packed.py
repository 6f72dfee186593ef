"""Tar and zip files as archives, read without unpacking: what holds for both."""

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from archives import ColourEncoder, counts, images, make_gallery, rejected, save
from packing import FORMATS, tar, zipped

from indexer.pipeline import index_archives
from indexer.sources import Entry, bounds, open_source
from medsiglip_search.errors import ArchiveNotFound, Reason, Unreadable

THREE_KINDS = ["tar", "tar.gz", "deflated zip"]


def listed(path: Path) -> dict[str, Entry]:
    entries = list(open_source(str(path)).entries())
    assert len({entry.uri for entry in entries}) == len(entries)
    return {entry.uri: entry for entry in entries}


@pytest.fixture(params=FORMATS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_files_are_listed_as_they_lie_there_and_read_from_any_thread(tmp_path: Path, kind: str) -> None:
    random.seed(1)
    files = {
        f"{number % 3}/{number:02}.dcm": random.randbytes(number * 900) for number in range(20)
    }  # one is empty
    path = FORMATS[kind](tmp_path / "archive", files.items())
    entries = listed(path)
    assert list(entries) == list(files)
    assert {entry.archive for entry in entries.values()} == {str(path)}
    assert [entry.size for entry in entries.values()] == [len(content) for content in files.values()]
    with ThreadPoolExecutor(4) as threads:
        read = list(threads.map(lambda entry: entry.file.content(), entries.values()))
    assert read == list(files.values())
    shuffled = random.sample(list(entries), len(entries))
    assert [entries[uri].file.content() for uri in shuffled] == [files[uri] for uri in shuffled]


def test_of_several_files_of_one_name_the_last_counts(tmp_path: Path, kind: str) -> None:
    files = [("a", b"old"), ("b", b"b"), ("./a", b"newest"), ("c", b"a file"), ("c/", b"")]
    entries = listed(FORMATS[kind](tmp_path / "archive", files[: 5 if "zip" in kind else 4]))
    assert [uri for uri in entries if uri != "c"] == ["b", "a"]
    assert entries["a"].file.content() == b"newest"


def test_names_that_lead_out_of_the_archive_are_never_opened(tmp_path: Path, kind: str) -> None:
    names = ["../a", "/etc/passwd", "b/../../c", "C:/d", "..\\e", "good/../f", "g..h/..i"]
    entries = listed(FORMATS[kind](tmp_path / "archive", [(name, b"x") for name in names]))
    refused = "its name leads out of the archive"
    assert {uri: entry.problem for uri, entry in entries.items()} == {
        **dict.fromkeys(names[:5], refused),
        "f": None,
        "g..h/..i": None,
    }


def test_a_file_is_as_old_as_its_archive(tmp_path: Path, kind: str) -> None:
    path = FORMATS[kind](tmp_path / "archive", [("a", b"four")])
    os.utime(path, ns=(1, 1_600_000_000_123_456_789))
    entry = listed(path)["a"]
    assert (entry.size, entry.mtime_ns) == (4, 1_600_000_000_123_456_789)


def test_an_archive_that_is_replaced_meanwhile_is_not_read_on(tmp_path: Path, kind: str) -> None:
    path = FORMATS[kind](tmp_path / "archive", [("a", b"one"), ("b", b"two")])
    entries = listed(path)
    assert entries["a"].file.content() == b"one"
    FORMATS[kind](tmp_path / "other", [("b", b"twenty"), ("a", b"one")]).replace(path)
    with pytest.raises(Unreadable, match="changed while it was read") as error:
        entries["b"].file.content()
    assert error.value.reason is Reason.UNREADABLE


def test_a_file_too_large_for_memory_is_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MAX_ENCODED_BYTES", 4 << 10)
    content = random.randbytes(5 << 10)
    entries = listed(FORMATS[kind](tmp_path / "archive", [("large", content), ("small", b"x")]))
    with pytest.raises(Unreadable, match="more than 0 MiB") as error:
        entries["large"].file.content()
    assert error.value.reason is Reason.TOO_LARGE
    assert entries["small"].file.content() == b"x"


def test_what_is_inside_is_held_and_nothing_else(tmp_path: Path, kind: str) -> None:
    source = open_source(str(FORMATS[kind](tmp_path / "archive", [("a/b", b"x")])))
    assert [source.holds(uri) for uri in ("a/b", "a", "b", ".")] == [True, False, False, False]


def test_content_decides_what_an_archive_is(tmp_path: Path, kind: str) -> None:
    assert list(listed(FORMATS[kind](tmp_path / "picture.png", [("a", b"x")]))) == ["a"]
    (tmp_path / "text.tar.gz").write_text("no archive")
    with pytest.raises(ArchiveNotFound, match="neither a folder nor a tar or zip file"):
        open_source(str(tmp_path / "text.tar.gz"))


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "zip", [("inside.png", b"x")]).read_bytes()
    assert list(listed(tar(tmp_path / "tar", [("a.zip", inner)]))) == ["a.zip"]


def test_an_archive_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    path = tar(tmp_path / "archive.tar", [("a", b"x")])
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read everything")
    with pytest.raises(ArchiveNotFound, match="cannot be read: permission denied"):
        open_source(str(path))


@pytest.mark.parametrize("kind", THREE_KINDS, indirect=True)
def test_pictures_are_indexed_from_inside_and_joined_to_a_table(tmp_path: Path, kind: str) -> None:
    red = save(tmp_path / "red.bmp", (200, 0, 0)).read_bytes()
    blue = save(tmp_path / "blue.bmp", (0, 0, 200)).read_bytes()
    inner = tar(tmp_path / "inner.tar", [("a", b"x")]).read_bytes()
    files = [("s/red.bmp", red), ("../out.bmp", red), ("table.csv", b"path,x\n"), ("inner.tar", inner)]
    path = FORMATS[kind](tmp_path / "archive", files)
    (tmp_path / "labels.csv").write_text("path,report\ns/red.bmp,normal\n")
    encoder = ColourEncoder()
    gallery = make_gallery(tmp_path / "gallery", encoder)
    report = index_archives(gallery, [str(path)], encoder, metadata=tmp_path / "labels.csv", workers=1)
    assert counts(report) == {
        "embedded": 1,
        "unchanged": 0,
        "replaced": 0,
        "rejected": {"not_an_image": 1, "unreadable": 1},
    }
    assert list(images(gallery)) == [("s/red.bmp", 0)]
    assert gallery.instances(gallery.select(None))[0].sidecar == {"report": "normal"}
    assert rejected(gallery) == {("../out.bmp", None): "unreadable", ("inner.tar", None): "not_an_image"}
    told = {one.uri: one.message for one in gallery.rejected()}
    assert "give it to `index` as an archive of its own" in told["inner.tar"]

    assert index_archives(gallery, [str(path)], encoder, workers=1).unchanged == 1
    assert len(red) == len(blue)  # only the archive's own time tells that it was packed anew
    FORMATS[kind](path, [("s/red.bmp", blue), *files[1:]])
    os.utime(path, ns=(1, 1))
    assert index_archives(gallery, [str(path)], encoder, workers=1).replaced == 1
    assert images(gallery)["s/red.bmp", 0][2] > 0.99


@pytest.mark.parametrize("kind", THREE_KINDS, indirect=True)
def test_a_damaged_archive_gives_right_bytes_or_an_error(tmp_path: Path, kind: str) -> None:
    random.seed(7)
    files = {f"{number}": random.randbytes(400 * number) for number in range(6)}
    whole = FORMATS[kind](tmp_path / "archive", files.items()).read_bytes()
    # The last bytes of a tar are zeros beyond its end mark.
    needed = len(tar(tmp_path / "unpadded", files.items()).read_bytes().rstrip(b"\0")) if kind == "tar" else 0
    cuts = [whole[:cut] for cut in range(0, needed or len(whole) - 64, 61)]
    for damaged in cuts + [_flipped(whole) for _ in range(100)]:
        path = tmp_path / "damaged"
        path.write_bytes(damaged)
        try:
            entries = listed(path)
        except ArchiveNotFound:
            continue
        if len(damaged) < len(whole):
            assert "cut after the first" in (entries["."].problem or "")
        for uri, entry in entries.items():
            if entry.problem is None:
                try:
                    content = entry.file.content()
                except Unreadable:
                    continue
                is_told = "." in entries or kind == "tar"  # which has no checksum
                assert content == files.get(uri) or (is_told and len(damaged) == len(whole))


def _flipped(content: bytes) -> bytes:
    place = random.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << random.randrange(8)]) + content[place + 1 :]
