import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from medsiglip_search.demo.archive import COLUMNS, write_archive
from medsiglip_search.demo.cases import draw_study, plan, render
from medsiglip_search.errors import Unreadable
from medsiglip_search.images import open_image

SEED, IMAGES = 11, 150


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder, SEED, IMAGES)
    return folder


@pytest.fixture(scope="module")
def table(archive: Path) -> list[dict[str, str]]:
    with open(archive / "metadata.csv", newline="") as file:
        return list(csv.DictReader(file))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path: Path):
    write_archive(tmp_path / "a", 5, 20)
    write_archive(tmp_path / "b", 5, 20)
    write_archive(tmp_path / "c", 6, 20)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert digests(tmp_path / "a") != digests(tmp_path / "c")


def test_progress_counts_every_picture(tmp_path: Path):
    counted: list[int] = []
    write_archive(tmp_path, 5, 21, counted.append)
    assert sum(counted) == 21


def test_the_table_names_every_picture_and_nothing_else(archive: Path, table: list[dict[str, str]]):
    assert tuple(table[0]) == COLUMNS
    frames = 0
    for row in table:
        with open_image(archive / row["path"]) as file:
            frames += file.frame_count
    assert frames == IMAGES


def test_what_is_read_is_what_was_drawn(archive: Path, table: list[dict[str, str]]):
    """Radiographs and CT in every transfer syntax equal their drawing exactly, in HU and as pictures."""
    rows = iter(table)
    syntaxes, interpretations = set(), set()
    for study in plan(SEED, IMAGES):
        drawings = list(draw_study(study))
        left = list(drawings)
        while left:
            row = next(rows)
            path = archive / row["path"]
            with open_image(path) as file:
                pictures = [file.read(frame).pixels for frame in range(file.frame_count)]
            for picture in pictures:
                expected = render(study.modality.code, left.pop(0).values)
                assert picture.shape == expected.shape or path.suffix == ".tif"
                if path.suffix == ".dcm":
                    # An inverted 12-bit value may round to the grey level beside.
                    tolerance = 1 if study.modality.code == "CR" else 0
                    assert np.abs(picture.astype(int) - expected).max() <= tolerance, row["path"]
                elif path.suffix == ".png":
                    assert np.array_equal(picture, expected)
                else:
                    grey = np.repeat(expected[..., 1:2], 3, axis=2)
                    shown = grey if path.suffix == ".tif" else expected
                    assert np.abs(picture.astype(int) - shown).mean() < 6, row["path"]
            if path.suffix == ".dcm":
                ds = dcmread(path, stop_before_pixels=True)
                syntaxes.add(ds.file_meta.TransferSyntaxUID.name)
                interpretations.add(ds.PhotometricInterpretation)
    assert len(syntaxes) >= 4
    assert interpretations == {"MONOCHROME1", "MONOCHROME2"}


def test_the_archive_holds_what_real_ones_hold(archive: Path):
    suffixes = {path.suffix for path in archive.rglob("*") if path.is_file()}
    assert {".dcm", ".jpg", ".png", ".tif"} <= suffixes
    headers = [dcmread(path, stop_before_pixels=True, force=True) for path in archive.rglob("IM*.dcm")]
    headers += [dcmread(path, stop_before_pixels=True) for path in archive.rglob("volume.dcm")]
    ct = [ds for ds in headers if ds.Modality == "CT"]
    assert {ds.PixelRepresentation for ds in ct} == {0, 1}
    assert {ds.get("NumberOfFrames", 1) > 1 for ds in ct} == {True, False}
    assert {ds.BitsStored for ds in headers if ds.Modality == "CR"} == {12}


def test_each_file_beside_the_table_is_broken_or_no_picture(archive: Path, table: list[dict[str, str]]):
    named = {row["path"] for row in table} | {"metadata.csv"}
    clutter = sorted(
        path
        for path in archive.rglob("*")
        if path.is_file() and path.relative_to(archive).as_posix() not in named
    )
    reasons = {}
    for path in clutter:
        with pytest.raises(Unreadable) as error, open_image(path) as file:
            file.read(0)
        reasons[path.name] = error.value.reason.value
    assert reasons == {
        "interrupted_copy.dcm": "truncated",
        "interrupted_copy.jpg": "truncated",
        "empty.png": "not_an_image",
        "structured_report.dcm": "non_image_dicom",
        "notes.txt": "not_an_image",
        "blank.png": "blank_image",
    }


def test_boxes_stand_beside_their_findings_and_inside_the_picture(archive: Path, table: list[dict[str, str]]):
    boxed = 0
    for row in table:
        boxes = row["boxes"].split(";")
        findings = row["findings"].split(";")
        assert len(boxes) == len(findings)
        with open_image(archive / row["path"]) as file:
            rows, columns = file.read(0).pixels.shape[:2]
        for box in filter(None, boxes):
            x0, y0, x1, y1 = map(int, box.split())
            assert 0 <= x0 < x1 <= columns
            assert 0 <= y0 < y1 <= rows
            boxed += 1
    assert boxed > 50
