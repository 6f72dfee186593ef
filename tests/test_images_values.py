"""The values of a DICOM file in modality units: exactly those that were written, however they are stored."""

import io
from pathlib import Path

import numpy as np
import pytest
from dicom_files import (
    LOSSLESS,
    dataset_of,
    image_dataset,
    lossless,
    sequence_item,
    written,
)
from PIL import Image
from pydicom import dcmread, uid
from pydicom.sequence import Sequence

from medsiglip_search.demo.archive import write_archive
from medsiglip_search.demo.cases import Study, draw_study, plan
from medsiglip_search.demo.dicom import encode_ct_slice, encode_ct_volume
from medsiglip_search.errors import InvalidQuery
from medsiglip_search.images import open_image
from medsiglip_search.images.dicom import DicomFile
from medsiglip_search.windows import RenderSpec, ValueRange, Window

DEMO_SYNTAXES = {
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
}


# The test runner lifts the silence that the package asks for.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def reader(file: bytes) -> DicomFile:
    return DicomFile(io.BytesIO(file), RenderSpec())


@pytest.fixture(scope="module")
def study() -> Study:
    """A CT study of several slices of the synthetic archive."""
    return next(study for study in plan(3, 60) if study.modality.code == "CT" and study.images > 1)


@pytest.fixture(scope="module")
def slices(study: Study) -> list[np.ndarray]:
    """What the study drew: (H, W) int16 HU."""
    return [drawing.values for drawing in draw_study(study)]


def test_the_drawn_slices_are_worth_reading(slices: list[np.ndarray]) -> None:
    assert slices[0].min() < -900
    assert slices[0].max() > 500
    assert (slices[0] != slices[1]).any()


def test_a_slice_of_the_synthetic_archive_reads_back_as_the_drawn_hu(
    study: Study, slices: list[np.ndarray]
) -> None:
    seen = set()
    for seed in range(24):  # which syntax and sign the archive takes is drawn by lot
        file = encode_ct_slice(np.random.default_rng(seed), study, 1, slices[0])
        header = dcmread(io.BytesIO(file), stop_before_pixels=True)
        seen.add((header.file_meta.TransferSyntaxUID, header.PixelRepresentation))
        np.testing.assert_array_equal(reader(file).values(0), slices[0])
    assert {syntax for syntax, _ in seen} == DEMO_SYNTAXES
    assert {sign for _, sign in seen} == {0, 1}


def test_a_volume_of_the_synthetic_archive_reads_back_as_the_drawn_hu(
    study: Study, slices: list[np.ndarray]
) -> None:
    for seed in range(6):
        file = reader(encode_ct_volume(np.random.default_rng(seed), study, slices))
        assert file.frame_count == len(slices)
        for frame, hu in enumerate(slices):
            np.testing.assert_array_equal(file.values(frame), hu)


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword or syntax)
def test_hu_are_exact_in_every_lossless_syntax(
    slices: list[np.ndarray], syntax: uid.UID, signed: bool
) -> None:
    stored = slices[0] if signed else (slices[0] + 1024).astype(np.uint16)
    dataset = image_dataset(
        stored,
        sop_class=uid.CTImageStorage,
        Modality="CT",
        RescaleSlope="1",
        RescaleIntercept="0" if signed else "-1024",
    )
    np.testing.assert_array_equal(reader(lossless(dataset, stored, syntax)).values(0), slices[0])


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword or syntax)
def test_12_bits_in_16_are_exact_in_every_lossless_syntax(syntax: uid.UID, signed: bool) -> None:
    hu = (np.add.outer(np.arange(48) * 40, np.arange(64) * 11) - 1024).astype(np.int16)
    assert hu.max() < 2047
    stored = hu if signed else (hu + 1024).astype(np.uint16)
    dataset = image_dataset(
        stored,
        sop_class=uid.CTImageStorage,
        bits=12,
        Modality="CT",
        RescaleSlope="1",
        RescaleIntercept="0" if signed else "-1024",
    )
    np.testing.assert_array_equal(reader(lossless(dataset, stored, syntax)).values(0), hu)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword or syntax)
def test_each_frame_of_a_volume_has_its_own_rescale(slices: list[np.ndarray], syntax: uid.UID) -> None:
    hu = np.stack([slices[0], slices[1] & ~1])
    stored = np.stack([hu[0] + 1024, (hu[1] + 2048) // 2]).astype(np.uint16)
    groups = [
        dataset_of(PixelValueTransformationSequence=sequence_item(RescaleSlope=slope, RescaleIntercept=base))
        for slope, base in (("1", "-1024"), ("2", "-2048"))
    ]
    dataset = image_dataset(
        stored,
        sop_class=uid.EnhancedCTImageStorage,
        Modality="CT",
        NumberOfFrames=2,
        PerFrameFunctionalGroupsSequence=Sequence(groups),
    )
    file = reader(lossless(dataset, stored, syntax))
    np.testing.assert_array_equal(file.values(0), hu[0])
    np.testing.assert_array_equal(file.values(1), hu[1])


def test_compressed_files_of_the_synthetic_archive_look_like_uncompressed_ones(tmp_path: Path) -> None:
    write_archive(tmp_path / "archive", 4, 60)
    compressed = 0
    for path in sorted((tmp_path / "archive").rglob("*.dcm")):
        if path.stem in ("interrupted_copy", "structured_report"):
            continue
        dataset = dcmread(path)
        compressed += dataset.file_meta.TransferSyntaxUID.is_compressed
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            dataset.decompress(generate_instance_uid=False)
        plain = tmp_path / "plain.dcm"
        dataset.save_as(plain)
        with open_image(path) as as_stored, open_image(plain) as uncompressed:
            for frame in range(as_stored.frame_count):
                expected = uncompressed.read(frame).pixels
                np.testing.assert_array_equal(as_stored.read(frame).pixels, expected)
    assert compressed >= 5


def test_a_picture_in_colours_has_no_values() -> None:
    file = written(image_dataset(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)))
    with pytest.raises(InvalidQuery, match="no values"):
        reader(file).values(0)
    with pytest.raises(InvalidQuery, match="no values to window"):
        reader(file).read(0, Window(0, 1))


@pytest.mark.parametrize("elements", [{"RescaleSlope": "0"}, {"RescaleIntercept": "inf"}])
def test_a_damaged_rescale_leaves_no_values_to_window(elements: dict[str, str]) -> None:
    file = written(image_dataset(np.arange(16, dtype=np.uint16).reshape(4, 4), Modality="CT", **elements))
    with pytest.raises(InvalidQuery, match="rescale"):
        reader(file).values(0)
    with pytest.raises(InvalidQuery, match="no values to window"):
        reader(file).read(0, Window(0, 1))
    assert reader(file).read(0).flags == ("window_fallback",)


def test_the_value_range_is_that_of_modality_values_with_the_files_own_window() -> None:
    stored = np.arange(16, dtype=np.uint16).reshape(4, 4)
    elements = {"RescaleSlope": "2", "RescaleIntercept": "-10", "WindowCenter": "5", "WindowWidth": "11"}
    with open_image(written(image_dataset(stored, Modality="CR", **elements))) as image:
        assert image.value_range() == ValueRange(-10, 20, None, Window(-0.5, 9.5))
    with open_image(written(image_dataset(stored, Modality="CR"))) as image:
        found = image.value_range()
        with pytest.raises(InvalidQuery, match="frame 1 of 1"):
            image.value_range(1)
    assert found is not None
    assert (found.low, found.high) == (0, 15)
    assert 0 <= found.window.low < 1
    assert 14 < found.window.high <= 15


@pytest.mark.parametrize("elements", [{"RescaleSlope": "0"}, {"RescaleIntercept": "inf"}])
def test_a_damaged_rescale_leaves_no_value_range(elements: dict[str, str]) -> None:
    file = written(image_dataset(np.arange(16, dtype=np.uint16).reshape(4, 4), Modality="CT", **elements))
    with open_image(file) as image:
        assert image.value_range() is None


def test_deep_grey_rasters_have_a_value_range_and_levels_and_colours_none() -> None:
    deep = np.array([[100, 40_000], [7, 300]], np.uint16)
    expected = ValueRange(7, 40_000, None, Window(7, 40_000))
    for array, found in ((deep, expected), (deep.astype(np.uint8), None), (np.eye(3, dtype=np.uint8), None)):
        file = io.BytesIO()
        Image.fromarray(array).save(file, "TIFF")
        with open_image(file.getvalue()) as image:
            assert image.value_range() == found
    with open_image(written(image_dataset(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)))) as image:
        assert image.value_range() is None
