"""Every file that comes with pydicom is a picture or has a reason; equal ones are equal pictures."""

from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import dcmread

from medsiglip_search.errors import Unreadable
from medsiglip_search.images import open_image

# The test runner lifts the silence that the package asks for.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

# Listed here and not by pydicom's own function, which downloads what the package does not hold.
DATA = Path(pydicom.__file__).parent / "data"
TEST_FILES = DATA / "test_files"


def outcome(path: Path) -> str:
    """Return "picture", or the reason why not, after reading all frames."""
    try:
        with open_image(path) as file:
            for frame in range(file.frame_count):
                pixels = file.read(frame).pixels
                assert pixels.dtype == np.uint8
                assert pixels.ndim == 3
                assert pixels.shape[2] == 3
                assert pixels.flags.c_contiguous
    except Unreadable as error:
        return error.reason.value
    return "picture"


def pixels(name: str, frame: int = 0) -> np.ndarray:
    with open_image(TEST_FILES / name) as file:
        return file.read(frame).pixels


def test_every_bundled_file_is_a_picture_or_has_a_reason() -> None:
    outcomes = {path: outcome(path) for path in DATA.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    count = Counter(outcomes.values())
    assert count["picture"] >= 90
    assert set(count) <= {
        "picture", "non_image_dicom", "not_an_image", "malformed", "truncated", "label_or_localizer"
    }  # fmt: skip
    for path, found in outcomes.items():
        expected = {
            ".py": "not_an_image",
            ".txt": "not_an_image",
            ".json": "not_an_image",
            ".gz": "not_an_image",
        }
        assert found == expected.get(path.suffix, found), path.name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MR_truncated.dcm", "truncated"),
        ("rtplan.dcm", "non_image_dicom"),
        ("rtdose.dcm", "non_image_dicom"),
        ("rtstruct.dcm", "non_image_dicom"),
        ("liver_1frame.dcm", "non_image_dicom"),
        ("test-SR.dcm", "non_image_dicom"),
        ("waveform_ecg.dcm", "non_image_dicom"),
        ("ExplVR_BigEndNoMeta.dcm", "non_image_dicom"),
        ("ExplVR_LitEndNoMeta.dcm", "non_image_dicom"),
        ("nested_priv_SQ.dcm", "malformed"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "malformed"),
        ("dicomdirtests/DICOMDIR", "non_image_dicom"),
        ("dicomdirtests/DICOMDIR-bigEnd", "non_image_dicom"),
        ("dicomdirtests/77654033/CT2/17106", "picture"),
    ],
)
def test_bundled_files_have_the_reason_that_fits(name: str, expected: str) -> None:
    assert outcome(TEST_FILES / name) == expected


@pytest.mark.parametrize(
    "syntax", ["RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded"]
)
def test_the_same_mr_in_every_syntax_is_the_same_picture(syntax: str) -> None:
    np.testing.assert_array_equal(pixels(f"MR_small_{syntax}.dcm"), pixels("MR_small.dcm"))


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("SC_rgb_jpeg_gdcm.dcm", 0),
        ("SC_rgb_gdcm_KY.dcm", 1),
        ("SC_rgb_rle_16bit.dcm", 0),
        ("SC_rgb_rle_32bit.dcm", 0),
        ("SC_rgb_rle_2frame.dcm", 0),
        ("SC_ybr_full_422_uncompressed.dcm", 3),
        ("SC_rgb_jls_lossy_line.dcm", 10),
        ("SC_rgb_jls_lossy_sample.dcm", 10),
        ("SC_rgb_dcmtk_+eb+cr.dcm", 8),
        ("SC_rgb_dcmtk_+eb+cy+n1.dcm", 8),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", 8),
        ("SC_rgb_dcmtk_+eb+cy+s2.dcm", 8),
        ("SC_rgb_dcmtk_+eb+cy+s4.dcm", 8),
        ("SC_rgb_jpeg_dcmtk.dcm", 8),
        ("SC_rgb_jpeg_lossy_gdcm.dcm", 8),
    ],
)
def test_the_same_colours_in_every_syntax_are_the_same_picture(name: str, tolerance: int) -> None:
    difference = np.abs(pixels(name).astype(int) - pixels("SC_rgb_rle.dcm"))
    # The lossy ones ring where two bars meet.
    assert np.percentile(difference, 90) <= tolerance
    assert difference.mean() <= tolerance


def test_12_bit_jpegs_are_read_like_their_8_bit_sibling() -> None:
    first, second = pixels("JPGExtended.dcm"), pixels("JPEG-lossy.dcm")
    np.testing.assert_array_equal(first, second)
    assert first.shape == (1024, 256, 3)
    assert 20 < first.mean() < 60


def test_a_ct_whose_codestream_has_the_wrong_sign_is_in_hu() -> None:
    # Air is black in all three windows, brain grey in the third.
    got = pixels("J2K_pixelrep_mismatch.dcm")
    assert got[5, 5].tolist() == [0, 0, 0]
    assert 50 < got[256, 256, 2] < 200


def test_an_ultrasound_palette_is_mostly_black_with_a_grey_fan() -> None:
    got = pixels("examples_palette.dcm")
    assert np.median(got) < 10
    assert got.max() > 200


def test_frames_of_a_cine_differ_and_come_in_order() -> None:
    with open_image(TEST_FILES / "examples_ybr_color.dcm") as file:
        assert file.frame_count == 30
        frames = [file.read(frame).pixels for frame in (0, 1, 29)]
    whole = dcmread(TEST_FILES / "examples_ybr_color.dcm").pixel_array
    for frame, got in zip((0, 1, 29), frames, strict=True):
        assert np.abs(got.astype(int) - whole[frame]).max() <= 3, frame


def test_no_message_names_the_file_or_the_patient() -> None:
    messages = {path: refusal(path) for path in TEST_FILES.glob("*.dcm")}
    assert sum(message is not None for message in messages.values()) > 20
    for path, message in messages.items():
        patient = str(dcmread(path, force=True, stop_before_pixels=True).get("PatientName", "")) or "no name"
        if message is not None:
            assert path.name not in message
            assert patient not in message
            assert "\n" not in message


def refusal(path: Path) -> str | None:
    try:
        with open_image(path) as file:
            file.read()
    except Unreadable as error:
        return str(error)
    return None
