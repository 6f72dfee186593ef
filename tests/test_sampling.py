"""A sample of archives: pictures alone, the same each time, fitted as they will be indexed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.sampling import sample_pictures
from medsiglip_search.encoders.fitting import fitted
from medsiglip_search.errors import ArchiveNotFound
from medsiglip_search.records import PreprocessSpec

SPEC = PreprocessSpec(size=16)


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)


def archive(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        Image.fromarray(picture(number)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("no picture")
    (folder / "table.csv").write_text("path,report\n0.png,effusion\n")
    return folder


def test_pictures_are_those_of_the_archive_fitted_and_the_same_each_time(tmp_path: Path) -> None:
    folder = archive(tmp_path / "a", 12)

    some = sample_pictures([str(folder)], SPEC, 5, workers=1)

    every = [fitted(picture(number), SPEC) for number in range(12)]
    found = [next(n for n, one in enumerate(every) if np.array_equal(one, each)) for each in some]
    assert len(set(found)) == 5
    assert found != sorted(found)  # not the first ones of the list
    again = sample_pictures([str(folder)], SPEC, 5, workers=1)
    np.testing.assert_array_equal(some, again)


def test_all_archives_have_a_part_and_fewer_pictures_than_wanted_are_all_taken(tmp_path: Path) -> None:
    folders = [str(archive(tmp_path / name, 2)) for name in ("a", "b")]
    (tmp_path / "a" / "damaged.png").write_bytes((tmp_path / "a" / "0.png").read_bytes()[:100])

    some = sample_pictures(folders, SPEC, 50, workers=1)

    assert len(some) == 4
    assert all(each.shape == (16, 16, 3) and each.dtype == np.uint8 for each in some)


def test_an_archive_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ArchiveNotFound):
        sample_pictures([str(tmp_path / "none")], SPEC, 5, workers=1)
