"""Which files behind a gallery's rows are no longer there."""

import shutil
from pathlib import Path

import pytest
from archives import ColourEncoder, make_gallery, save
from packing import tar

from indexer.pipeline import index_archives
from indexer.presence import Gone, gone
from medsiglip_search.errors import ArchiveNotFound
from medsiglip_search.gallery import Gallery


@pytest.fixture
def archives(tmp_path: Path) -> list[Path]:
    for folder in ("one", "two"):
        for name in ("a.png", "b.png", "s/c.png"):
            save(tmp_path / folder / name)
    picture = (tmp_path / "one" / "a.png").read_bytes()
    return [tmp_path / "one", tmp_path / "two", tar(tmp_path / "p.tar", [("a.png", picture), ("b", picture)])]


@pytest.fixture
def gallery(tmp_path: Path, archives: list[Path]) -> Gallery:
    encoder = ColourEncoder()
    gallery = make_gallery(tmp_path / "gallery", encoder)
    index_archives(gallery, list(map(str, archives)), encoder, workers=1)
    return gallery


def test_files_that_are_gone_are_told_once_by_archive_and_name(
    gallery: Gallery, archives: list[Path]
) -> None:
    assert list(gone(gallery)) == []
    one, two, packed = archives
    (one / "b.png").unlink()
    (one / "a.png").write_bytes(b"there, if no picture any more")
    shutil.rmtree(two / "s")
    tar(packed, [("b", b"x")])
    expected = [Gone(str(one), "b.png"), Gone(str(packed), "a.png"), Gone(str(two), "s/c.png")]
    assert list(gone(gallery)) == expected
    assert list(gone(gallery, [str(two)])) == expected[2:]


def test_an_archive_that_is_gone_tells_nothing_of_its_files(gallery: Gallery, archives: list[Path]) -> None:
    one, two, packed = archives
    shutil.rmtree(one)
    packed.write_bytes(packed.read_bytes()[:1000])
    (two / "a.png").unlink()
    assert list(gone(gallery)) == [Gone(str(one), None), Gone(str(two), "a.png")]
    with pytest.raises(ArchiveNotFound):
        list(gone(gallery, [str(one)]))
