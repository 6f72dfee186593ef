"""What a gallery knows of files, a few bytes for each."""

from dataclasses import replace
from pathlib import Path

import pytest
from galleries import instance, meta, rejected, unit

from indexer.known_files import KnownFile, KnownFiles, state_of
from indexer.sources import Entry
from indexer.sources.folder import LocalFile
from medsiglip_search.gallery import Gallery

A, B = "/a", "/b"


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """Two archives of embedded and rejected files; and what kills between the two tables leave."""
    gallery = Gallery.create(tmp_path / "gallery", meta())
    rows = [
        instance("one.dcm", archive=A, mtime_ns=5),
        instance("two.dcm", archive=A, mtime_ns=6),
        instance("two.dcm", 1, archive=A, mtime_ns=6),
        instance("one.dcm", archive=B, mtime_ns=7),
        instance("torn.dcm", archive=A),
    ]
    refused = [
        rejected("two.dcm", 2, archive=A, mtime_ns=6),
        rejected("cut.dcm", archive=A, mtime_ns=8),
        rejected("torn.dcm", archive=A),
        rejected("begun.dcm", 3, archive=A),
        replace(rejected("closed", archive=A), message="it is closed", size=0, mtime_ns=0, source_digest=""),
    ]
    with gallery.writer() as writer:
        writer.commit(rows, [b""] * 5, unit([[1, 0]] * 5), refused)
    return gallery


def entry(archive: str, uri: str, size: int, mtime_ns: int, problem: str | None = None) -> Entry:
    return Entry(archive, uri, size, mtime_ns, LocalFile(uri), problem)


def test_a_file_is_known_by_its_state_and_digest(gallery: Gallery) -> None:
    known = KnownFiles(gallery, [A])
    assert known.find((A, "one.dcm")) == KnownFile(
        state=state_of(entry(A, "one.dcm", 7, 5)),
        digest=hash("source of one.dcm at 5"),
        is_embedded=True,
        has_rejections=False,
        is_outdated=False,
    )
    assert known.find((A, "cut.dcm")) == KnownFile(
        state=state_of(entry(A, "cut.dcm", 7, 8)),
        digest=hash("source of cut.dcm"),
        is_embedded=False,
        has_rejections=True,
        is_outdated=False,
    )
    two = known.find((A, "two.dcm"))
    assert two is not None
    assert (two.is_embedded, two.has_rejections) == (True, True)
    assert known.find((B, "one.dcm")) is None  # of another archive
    assert known.find((A, "new.dcm")) is None


def test_a_file_that_could_not_be_read_stands_only_while_listing_tells_the_same(gallery: Gallery) -> None:
    closed = KnownFiles(gallery, [A]).find((A, "closed"))
    assert closed is not None
    assert closed.digest is None
    assert closed.state == state_of(entry(A, "closed", 0, 0, "it is closed"))
    assert closed.state != state_of(entry(A, "closed", 0, 0, "it is a pipe"))
    assert closed.state != state_of(entry(A, "closed", 0, 0))


def test_nothing_is_known_of_what_a_killed_writer_was_at(gallery: Gallery) -> None:
    known = KnownFiles(gallery, [A])
    assert known.find((A, "torn.dcm")) is None
    assert known.find((A, "begun.dcm")) is None
    # They are in the gallery all the same, to be pruned if they are gone.
    assert known.is_missing((A, "torn.dcm"))
    assert known.is_missing((A, "begun.dcm"))


def test_what_was_not_met_is_missing(gallery: Gallery) -> None:
    known = KnownFiles(gallery, [A, B])
    assert known.missing == 7
    assert known.meet((A, "one.dcm")) == known.find((A, "one.dcm"))
    assert known.meet((A, "new.dcm")) is None
    assert known.missing == 6
    assert [known.is_missing(key) for key in ((A, "one.dcm"), (B, "one.dcm"), (A, "new.dcm"))] == [
        False,
        True,
        False,
    ]


def test_outdated_files_are_marked(gallery: Gallery) -> None:
    known = KnownFiles(gallery, [A])
    known.outdate([(A, "two.dcm"), (A, "new.dcm")])
    found = [known.find((A, uri)) for uri in ("one.dcm", "two.dcm")]
    assert [file is not None and file.is_outdated for file in found] == [False, True]


def test_an_empty_gallery_knows_nothing(tmp_path: Path) -> None:
    known = KnownFiles(Gallery.create(tmp_path / "gallery", meta()), [A])
    assert (known.find((A, "a")), known.missing, known.is_missing((A, "a"))) == (None, 0, False)
