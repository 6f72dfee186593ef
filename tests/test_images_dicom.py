"""DICOM to RGB: the standard's steps, each once, in every syntax."""

import io
import tracemalloc
from typing import Any

import imagecodecs
import numpy as np
import pytest
from dicom_files import (
    LOSSLESS,
    dataset_of,
    deflated_zeros,
    image_dataset,
    lookup_table,
    lossless,
    sequence_item,
    without_preamble,
    written,
    written_compressed,
)
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medsiglip_search.errors import InvalidQuery, Reason, Unreadable
from medsiglip_search.images import open_image
from medsiglip_search.images.levels import percentile_window, render_ct, render_grey
from medsiglip_search.records import Attributes, Picture
from medsiglip_search.windows import RenderSpec, Window

# The test runner lifts the silence that the package asks for.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

RAMP = np.arange(0, 4096, 4, dtype=np.uint16).reshape(32, 32)
HU = (np.add.outer(np.arange(48) * 40, np.arange(64) * 11) - 1024).astype(np.int16)
WINDOW = {"WindowCenter": "2048", "WindowWidth": "4096"}


def read(file: bytes, frame: int = 0) -> Picture:
    with open_image(file) as opened:
        return opened.read(frame)


def refusal(file: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        read(file)
    return caught.value


def ct(stored: np.ndarray, **elements: Any) -> Dataset:
    scale = {"RescaleSlope": "1", "RescaleIntercept": "0", "Modality": "CT"}
    return image_dataset(stored, sop_class=uid.CTImageStorage, **{**scale, **elements})


def film(stored: np.ndarray = RAMP, **elements: Any) -> Dataset:
    return image_dataset(stored, **{"Modality": "DX", "bits": 12, **elements})


def levels(file: bytes) -> np.ndarray:
    """Return the one channel of a grey picture."""
    pixels = read(file).pixels
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


# --- Syntaxes ---


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword or syntax)
def test_signed_ct_gives_the_same_hu_in_every_lossless_syntax(syntax: uid.UID) -> None:
    np.testing.assert_array_equal(read(lossless(ct(HU), HU, syntax)).pixels, render_ct(HU))


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword or syntax)
def test_a_12_bit_film_gives_the_same_levels_in_every_lossless_syntax(syntax: uid.UID) -> None:
    dataset = film(WindowCenter="2048", WindowWidth="4096")
    np.testing.assert_array_equal(levels(lossless(dataset, RAMP, syntax)), (RAMP * (255 / 4095) + 0.5) // 1)


def test_unsigned_ct_with_an_intercept_is_the_same_as_signed_without() -> None:
    unsigned = ct((HU + 1024).astype(np.uint16), bits=12, RescaleIntercept="-1024")
    np.testing.assert_array_equal(read(written(unsigned)).pixels, render_ct(HU))


def test_12_bit_jpeg_is_decoded() -> None:
    codestream = imagecodecs.jpeg8_encode(RAMP, bitspersample=12, level=100)
    dataset = film(WindowCenter="2048", WindowWidth="4096")
    got = levels(written_compressed(dataset, uid.JPEGExtended12Bit, [codestream])).astype(int)
    assert np.abs(got - RAMP * (255 / 4095)).max() <= 1


def test_near_lossless_jpeg_ls_is_decoded() -> None:
    codestream = imagecodecs.jpegls_encode(RAMP, level=3)
    dataset = film(WindowCenter="2048", WindowWidth="4096")
    got = levels(written_compressed(dataset, uid.JPEGLSNearLossless, [codestream])).astype(int)
    assert np.abs(got - RAMP * (255 / 4095)).max() <= 1


def test_a_syntax_without_a_decoder_is_an_unsupported_codec() -> None:
    file = written_compressed(film(), uid.MPEG4HP41, [b"\0\0\1\xb3" * 20])
    assert refusal(file).reason == Reason.UNSUPPORTED_CODEC


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
)
def test_a_file_without_preamble_and_meta_is_read(syntax: uid.UID) -> None:
    np.testing.assert_array_equal(read(without_preamble(written(ct(HU), syntax))).pixels, render_ct(HU))


# --- Grey: modality, VOI, polarity ---


def test_monochrome1_is_inverted_once() -> None:
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    upright = levels(written(film(**window)))
    inverted = levels(written(film(photometric="MONOCHROME1", PresentationLUTShape="INVERSE", **window)))
    assert (upright[0, 0], upright[-1, -1]) == (0, 255)
    np.testing.assert_array_equal(inverted, 255 - upright)


@pytest.mark.parametrize("shape", [None, "IDENTITY", "INVERSE"])
def test_the_photometric_interpretation_alone_decides_on_the_polarity(shape: str | None) -> None:
    window = {"WindowCenter": "2048", "WindowWidth": "4096", "PresentationLUTShape": shape}
    assert levels(written(film(**window)))[0, 0] == 0
    assert levels(written(film(photometric="MONOCHROME1", **window)))[0, 0] == 255


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_presentation_lut_takes_the_place_of_the_polarity(photometric: str) -> None:
    # Five entries of 10 bits over the whole range of levels.
    lut = lookup_table([5, 0, 10], [1023, 0, 512, 256, 1023], "US")
    window = {"WindowCenter": "128", "WindowWidth": "256"}
    stored = np.array([[0, 63, 64], [127, 191, 255]], dtype=np.uint8)
    dataset = film(stored, photometric=photometric, bits=8, PresentationLUTSequence=lut, **window)
    assert levels(written(dataset)).tolist() == [[255, 0, 0], [128, 64, 255]]


def test_the_window_of_the_file_follows_the_standards_formula() -> None:
    stored = np.array([[99, 100, 101, 102], [103, 104, 105, 106]], dtype=np.uint16)
    # PS3.3 C.11.2.1.2.1, for centre 103 and width 6: black at 100 and below, white above 105.
    expected = [[0, 0, 51, 102], [153, 204, 255, 255]]
    assert levels(written(film(stored, WindowCenter="103", WindowWidth="6"))).tolist() == expected
    exact = film(stored, WindowCenter="103", WindowWidth="6", VOILUTFunction="LINEAR_EXACT")
    assert levels(written(exact)).tolist() == [[0, 0, 43, 85], [128, 170, 213, 255]]


def test_the_first_of_several_windows_is_taken() -> None:
    one = levels(written(film(WindowCenter="1000", WindowWidth="500")))
    several = film(WindowCenter=["1000", "3000"], WindowWidth=["500", "100"])
    np.testing.assert_array_equal(levels(written(several)), one)
    assert read(written(several)).flags == ()


def test_a_sigmoid_window_is_honoured() -> None:
    dataset = film(WindowCenter="2048", WindowWidth="1024", VOILUTFunction="SIGMOID")
    expected = 255 / (1 + np.exp(-4 * (RAMP - 2048.0) / 1024))
    assert np.abs(levels(written(dataset)) - expected).max() <= 0.51


def test_the_window_applies_to_rescaled_values() -> None:
    rescale = {"RescaleSlope": "0.5", "RescaleIntercept": "-1000"}
    dataset = film(WindowCenter="0", WindowWidth="501", **rescale)
    np.testing.assert_array_equal(
        levels(written(dataset)), render_grey(RAMP * 0.5 - 1000, Window(-250.5, 249.5))[..., 0]
    )


def test_a_modality_lut_comes_before_the_window() -> None:
    table = [4095 - value for value in range(4096)]
    lut = lookup_table([4096, 0, 16], table, "OW")
    dataset = film(ModalityLUTSequence=lut, WindowCenter="2048", WindowWidth="4096")
    np.testing.assert_array_equal(levels(written(dataset)), ((4095 - RAMP) * (255 / 4095) + 0.5) // 1)


@pytest.mark.parametrize("syntax", LOSSLESS[:3], ids=lambda syntax: syntax.keyword or syntax)
@pytest.mark.parametrize("vr", ["OW", "US"])
def test_a_voi_lut_is_honoured_before_a_window(syntax: uid.UID, vr: str) -> None:
    # Inputs from 1000 on, four entries of 10 bits; outside, the nearest end.
    lut = lookup_table([4, 1000, 10], [0, 1023, 512, 256], vr, big_endian=syntax == uid.ExplicitVRBigEndian)
    stored = np.array([[0, 999, 1000], [1001, 1002, 4000]], dtype=np.uint16)
    dataset = film(stored, VOILUTSequence=lut, WindowCenter="2048", WindowWidth="4096")
    assert levels(written(dataset, syntax)).tolist() == [[0, 0, 0], [255, 128, 64]]


def test_a_voi_lut_starts_at_a_negative_value_where_values_are_signed() -> None:
    lut = lookup_table([3, 2**16 - 1024, 8], [0, 255, 51], "OW")
    stored = np.array([[0, 1, 2]] * 2, dtype=np.uint16)
    dataset = film(stored, VOILUTSequence=lut, RescaleSlope="1", RescaleIntercept="-1024")
    assert levels(written(dataset)).tolist() == [[0, 255, 51]] * 2


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"WindowCenter": "2048", "WindowWidth": "0"},
        {"WindowCenter": "2048", "WindowWidth": "0", "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": "2048", "WindowWidth": ""},
        {"WindowCenter": "", "WindowWidth": "100"},
        {"WindowCenter": ["2048", "1000"], "WindowWidth": "100"},
        {"WindowCenter": "90000", "WindowWidth": "100"},
        {"WindowCenter": "2048", "WindowWidth": "4096", "RescaleSlope": "0", "RescaleIntercept": "5"},
        {"WindowCenter": "nan", "WindowWidth": "100"},
        {"WindowCenter": "2048", "WindowWidth": "inf"},
        {"WindowCenter": "2048", "WindowWidth": "-5"},
        {"WindowCenter": "2048", "WindowWidth": "4096", "RescaleSlope": "nan"},
        {"WindowCenter": "2048", "WindowWidth": "4096", "RescaleSlope": "inf"},
        {"WindowCenter": "2048", "WindowWidth": "4096", "RescaleSlope": "1", "RescaleIntercept": "nan"},
        {"VOILUTSequence": lookup_table([4096, 0, 16], [1, 2], "OW")},
        {"WindowCenter": "9", "WindowWidth": "9", "ModalityLUTSequence": lookup_table([9, 0, 16], [1], "OW")},
    ],
    ids=[
        "none",
        "zero",
        "zero_sigmoid",
        "no_width",
        "no_centre",
        "fewer",
        "elsewhere",
        "slope_0",
        "centre_nan",
        "width_inf",
        "width_negative",
        "slope_nan",
        "slope_inf",
        "intercept_nan",
        "bad_voi_lut",
        "bad_modality_lut",
    ],
)
def test_without_a_usable_window_the_percentiles_are_taken_and_flagged(elements: dict[str, Any]) -> None:
    picture = read(written(film(**elements)))
    assert picture.flags == ("window_fallback",)
    np.testing.assert_array_equal(picture.pixels, render_grey(RAMP, None))


@pytest.mark.parametrize(
    "scale", [{"RescaleSlope": "nan"}, {"RescaleSlope": "0"}, {"RescaleIntercept": "inf"}]
)
def test_ct_whose_values_are_not_in_hu_is_flagged(scale: dict[str, str]) -> None:
    picture = read(written(ct(HU, **scale)))
    assert picture.flags == ("window_fallback",)
    np.testing.assert_array_equal(picture.pixels, render_grey(HU, None))


def test_a_voi_lut_that_declares_impossible_bits_is_scaled_by_its_entries() -> None:
    lut = lookup_table([3, 0, 65535], [0, 100, 255], "US")
    stored = np.array([[0, 1, 2]] * 2, dtype=np.uint16)
    assert levels(written(film(stored, VOILUTSequence=lut))).tolist() == [[0, 100, 255]] * 2


def test_padding_is_left_out_of_the_percentiles() -> None:
    stored = RAMP.copy()
    stored[:16] = 63000
    picture = read(written(film(stored, bits=16, PixelPaddingValue=63000)))
    np.testing.assert_array_equal(picture.pixels[16:], render_grey(RAMP[16:], None))


@pytest.mark.parametrize("limits", [(63_536, 63_636), (-2000, -1900)])
def test_padding_is_compared_in_the_sign_of_the_pixels(limits: tuple[int, int]) -> None:
    stored = RAMP.astype(np.int16)
    stored[:8], stored[8:16] = -2000, -1950
    dataset = film(stored, bits=16, Modality="MR")
    for keyword, limit in zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), limits, strict=True):
        dataset.add_new(keyword, "US" if limit > 0 else "SS", limit)
    picture = read(written(dataset))
    np.testing.assert_array_equal(picture.pixels[16:], render_grey(RAMP[16:], None))


def test_mr_takes_percentiles_whatever_its_window_says() -> None:
    dataset = film(Modality="MR", SOPClassUID=uid.MRImageStorage, WindowCenter="10", WindowWidth="5")
    picture = read(written(dataset))
    assert picture.flags == ()
    np.testing.assert_array_equal(picture.pixels, render_grey(RAMP, None))


def test_the_choices_of_a_gallery_are_followed() -> None:
    bone, wide = Window(-500, 1300), Window(-1000, 1000)
    rendering = RenderSpec(ct=(bone, wide, bone), percentiles=(10, 80))
    with open_image(written(ct(HU)), rendering) as file:
        np.testing.assert_array_equal(file.read().pixels, render_ct(HU, (bone, wide, bone)))
    window = percentile_window(RAMP, (10, 80))
    for elements in ({"Modality": "MR"}, {"Modality": "DX"}):
        with open_image(written(film(**elements)), rendering) as file:
            np.testing.assert_array_equal(file.read().pixels, render_grey(RAMP, window))


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"WindowCenter": "2048", "WindowWidth": "4096"},
        {"VOILUTSequence": lookup_table([3, 0, 8], [0, 255, 51], "OW")},
        {"Modality": "MR"},
        {"Modality": "CT", "SOPClassUID": uid.CTImageStorage},
    ],
)
def test_a_given_window_is_shown_instead_of_any_other(elements: dict[str, Any]) -> None:
    window = Window(-400, 900)
    with open_image(written(film(RescaleSlope="2", RescaleIntercept="-1000", **elements))) as file:
        picture = file.read(0, window)
    np.testing.assert_array_equal(picture.pixels, render_grey(RAMP * 2.0 - 1000, window))
    assert picture.flags == ()


def test_a_given_window_is_inverted_for_monochrome1() -> None:
    with open_image(written(film(photometric="MONOCHROME1"))) as file:
        pixels = file.read(0, Window(0, 4095)).pixels
    np.testing.assert_array_equal(pixels, render_grey(RAMP, Window(0, 4095), invert=True))


def test_a_palette_and_a_colour_picture_have_no_values_to_window() -> None:
    entries = np.arange(30, dtype=np.uint8).reshape(10, 3)
    for dataset in (palette_dataset(entries, uid.ExplicitVRLittleEndian), image_dataset(BARS)):
        with (
            open_image(written(dataset)) as file,
            pytest.raises(InvalidQuery, match="no values to window"),
        ):
            file.read(0, Window(0, 1))


@pytest.mark.parametrize(
    "elements", [{"SOPClassUID": uid.SecondaryCaptureImageStorage}, {"RescaleType": "Z_EFF"}]
)
def test_ct_that_is_not_in_hu_takes_its_own_window(elements: dict[str, Any]) -> None:
    dataset = ct(RAMP, bits=12, WindowCenter="2048", WindowWidth="4096", **elements)
    np.testing.assert_array_equal(read(written(dataset)).pixels, render_grey(RAMP, Window(0, 4095)))


def test_a_flat_frame_is_blank() -> None:
    assert refusal(written(film(np.full((8, 8), 700, np.uint16)))).reason == Reason.BLANK_IMAGE
    assert refusal(written(ct(np.full((8, 8), -2000, np.int16)))).reason == Reason.BLANK_IMAGE


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEGLossless])
def test_the_highest_stored_bit_is_the_sign(syntax: uid.UID) -> None:
    stored = HU & 0x1FFF  # 13 bits, the sign not carried on into the others
    assert stored.min() == 0
    np.testing.assert_array_equal(read(lossless(ct(stored, bits=13), stored, syntax)).pixels, render_ct(HU))


@pytest.mark.parametrize(
    "syntax", [uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.HTJ2KLossless, uid.JPEG2000]
)
def test_a_sign_that_stops_at_the_stored_bits_is_carried_on(syntax: uid.UID) -> None:
    signed = np.arange(-1600, 1600, dtype=np.int16).reshape(40, 80)
    masked = signed.view(np.uint16) & 0xFFF
    file = compressed_16_bits(ct(masked, bits=12, PixelRepresentation=1), masked, syntax)
    np.testing.assert_array_equal(read(file).pixels, render_ct(signed))


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.HTJ2KLossless])
def test_overlay_bits_above_the_stored_ones_are_ignored_in_compressed_frames(syntax: uid.UID) -> None:
    overlaid = RAMP | np.uint16(0x4000)
    file = compressed_16_bits(film(overlaid, **WINDOW), overlaid, syntax)
    np.testing.assert_array_equal(read(file).pixels, read(written(film(**WINDOW))).pixels)


def test_lossy_values_beyond_their_bits_stay_white() -> None:
    stored = RAMP.astype(np.int16) - 2048
    overshot = stored.copy()
    overshot[-1, -8:] = 2060
    codestream = imagecodecs.jpeg2k_encode(overshot, codecformat="j2k", reversible=True)
    dataset = film(stored, WindowCenter="0", WindowWidth="4096")
    assert levels(written_compressed(dataset, uid.JPEG2000, [codestream]))[-1, -1] == 255


def compressed_16_bits(dataset: Dataset, stored: np.ndarray, syntax: uid.UID) -> bytes:
    """Return the file with a codestream that states 16 bits, whatever the dataset does."""
    if syntax == uid.JPEGLSLossless:
        codestream = imagecodecs.jpegls_encode(stored)
    elif syntax == uid.HTJ2KLossless:
        codestream = imagecodecs.htj2k_encode(stored, reversible=True)
    else:
        codestream = imagecodecs.jpeg2k_encode(stored, codecformat="j2k", reversible=True, bitspersample=16)
    return written_compressed(dataset, syntax, [codestream])


@pytest.mark.parametrize("syntax", LOSSLESS[:5], ids=lambda syntax: syntax.keyword or syntax)
@pytest.mark.parametrize("signed", [False, True])
def test_bits_below_the_lowest_stored_one_are_ignored(syntax: uid.UID, signed: bool) -> None:
    values = RAMP.astype(np.int32) - (2048 if signed else 0)
    shifted = (values * 16 + 5).astype(np.int16 if signed else np.uint16)
    dataset = film(shifted, bits=16, WindowCenter="1000", WindowWidth="2000")
    if syntax.is_encapsulated:
        dataset.compress(syntax, shifted, generate_instance_uid=False)
    dataset.BitsStored = 12
    expected = film(values.astype(shifted.dtype), WindowCenter="1000", WindowWidth="2000")
    np.testing.assert_array_equal(read(written(dataset, syntax)).pixels, read(written(expected)).pixels)


@pytest.mark.parametrize("high_bit", [0, 10, 16, 200, None])
def test_a_high_bit_that_cannot_be_is_the_highest_stored_one(high_bit: int | None) -> None:
    file = written(film(HighBit=high_bit, **WINDOW))
    np.testing.assert_array_equal(read(file).pixels, read(written(film(**WINDOW))).pixels)


# --- Several frames ---


def test_enhanced_ct_takes_rescale_from_the_groups_of_its_own_frame() -> None:
    stored = np.stack([HU + 1024, HU + 2000, HU + 1024]).astype(np.uint16)
    per_frame = [
        {"PixelValueTransformationSequence": sequence_item(RescaleSlope="1", RescaleIntercept=intercept)}
        for intercept in ("-1024", "-2000")
    ]
    shared = sequence_item(RescaleSlope="1", RescaleIntercept="-1024", RescaleType="HU")
    dataset = ct(
        stored,
        SOPClassUID=uid.EnhancedCTImageStorage,
        NumberOfFrames=3,
        RescaleSlope=None,
        RescaleIntercept=None,
        PerFrameFunctionalGroupsSequence=Sequence([dataset_of(**group) for group in [*per_frame, {}]]),
        SharedFunctionalGroupsSequence=sequence_item(PixelValueTransformationSequence=shared),
    )
    with open_image(written(dataset)) as file:
        assert file.frame_count == 3
        for frame in (0, 1, 2):
            np.testing.assert_array_equal(file.read(frame).pixels, render_ct(HU))


def test_enhanced_frames_take_their_own_window() -> None:
    windows = [{"WindowCenter": "1000", "WindowWidth": "500"}, {"WindowCenter": "3000", "WindowWidth": "500"}]
    groups = [dataset_of(FrameVOILUTSequence=sequence_item(**window)) for window in windows]
    dataset = film(
        np.stack([RAMP, RAMP]), NumberOfFrames=2, PerFrameFunctionalGroupsSequence=Sequence(groups)
    )
    with open_image(written(dataset)) as file:
        for frame, window in enumerate(windows):
            np.testing.assert_array_equal(
                file.read(frame).pixels, read(written(film(**window))).pixels, strict=True
            )


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless])
def test_frames_are_decoded_one_by_one(syntax: uid.UID) -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (40, 128, 128)).astype(np.uint16)
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    file = lossless(film(stored, NumberOfFrames=40, **window), stored, syntax)
    tracemalloc.start()
    with open_image(file) as opened:
        assert opened.frame_count == 40
        picture = opened.read(33)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(picture.pixels, read(written(film(stored[33], **window))).pixels)
    assert picture.frame == 33
    assert peak < 8 * stored[33].size * 4


@pytest.mark.parametrize("shape", [(3, 5, 5), (5, 7, 9), (4, 16, 16), (1, 3, 3)])
def test_bits_that_do_not_end_on_a_byte_are_found_frame_by_frame(shape: tuple[int, int, int]) -> None:
    bits = np.random.default_rng(0).integers(0, 2, shape).astype(np.uint8)
    dataset = image_dataset(
        bits, sop_class=uid.MultiFrameSingleBitSecondaryCaptureImageStorage, NumberOfFrames=shape[0]
    )
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.PixelData = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    with open_image(written(dataset)) as file:
        for frame in range(shape[0]):
            np.testing.assert_array_equal(file.read(frame).pixels[..., 0], bits[frame] * 255)


def mr_volume(frames: np.ndarray, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> bytes:
    elements = {"Modality": "MR", "NumberOfFrames": len(frames)}
    return lossless(
        image_dataset(frames, sop_class=uid.EnhancedMRImageStorage, bits=12, **elements), frames, syntax
    )


def test_all_frames_of_an_mr_volume_have_the_window_of_the_volume() -> None:
    brightness = np.linspace(0.3, 1, 30)
    frames = np.stack([RAMP * share for share in brightness]).astype(np.uint16)
    # The middles of the three thirds stand for all.
    expected = percentile_window(frames[[5, 15, 25]])
    for number in (0, 15, 29, 0):
        with open_image(mr_volume(frames)) as file:
            shown = file.read(number).pixels
        np.testing.assert_array_equal(shown, render_grey(frames[number], expected))


def test_the_window_of_an_mr_volume_is_of_rescaled_values_without_padding() -> None:
    frames = np.stack([RAMP, RAMP, RAMP])
    frames[:, :8] = 4095
    groups = [
        dataset_of(PixelValueTransformationSequence=sequence_item(RescaleSlope=slope, RescaleIntercept="0"))
        for slope in ("1", "2", "4")
    ]
    dataset = image_dataset(
        frames,
        sop_class=uid.EnhancedMRImageStorage,
        bits=12,
        Modality="MR",
        NumberOfFrames=3,
        PixelPaddingValue=4095,
        PerFrameFunctionalGroupsSequence=Sequence(groups),
    )
    expected = percentile_window(np.stack([frames[n, 8:] * 2.0**n for n in range(3)]))
    with open_image(written(dataset)) as file:
        shown = [file.read(number).pixels for number in range(3)]
    for number, pixels in enumerate(shown):
        np.testing.assert_array_equal(pixels, render_grey(frames[number] * 2.0**number, expected))


def test_a_damaged_frame_of_an_mr_volume_takes_only_itself_down() -> None:
    frames = np.random.default_rng(0).integers(0, 4096, (9, 32, 32)).astype(np.uint16)
    file = bytearray(mr_volume(frames, uid.JPEGLossless))
    fourth = [at for at in range(len(file)) if file[at : at + 3] == b"\xff\xd8\xff"][4]
    file[fourth + 2 : fourth + 6] = b"\0\0\0\0"  # one of the three that the window is fitted to
    with open_image(bytes(file)) as opened:
        with pytest.raises(Unreadable):
            opened.read(4)
        expected = percentile_window(frames[[1, 7]])
        np.testing.assert_array_equal(opened.read(3).pixels, render_grey(frames[3], expected))


def test_an_mr_volume_is_not_decoded_whole() -> None:
    frames = np.random.default_rng(0).integers(0, 4096, (60, 128, 128)).astype(np.uint16)
    file = mr_volume(frames)
    tracemalloc.start()
    with open_image(file) as opened:
        opened.read(33)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(file) / 2


@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_bits_above_the_stored_ones_are_ignored(dtype: type) -> None:
    low = -2048 if dtype is np.int16 else 0
    values = (np.arange(1024).reshape(32, 32) * 4 + low).astype(dtype)
    soiled = (values.view(np.uint16) & 0xFFF | 0x8000).view(dtype)
    clean, dirty = (
        image_dataset(stored, Modality="DX", bits=12, WindowCenter="0", WindowWidth="4096")
        for stored in (values, soiled)
    )
    np.testing.assert_array_equal(levels(written(dirty)), levels(written(clean)))


def test_big_endian_bytes_written_as_words_are_swapped_back() -> None:
    stored = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    dataset = image_dataset(stored, Modality="DX", WindowCenter="128", WindowWidth="256")
    expected = levels(written(dataset))
    dataset.PixelData = stored.reshape(-1, 2)[:, ::-1].tobytes()
    dataset["PixelData"].VR = "OW"
    np.testing.assert_array_equal(levels(written(dataset, uid.ExplicitVRBigEndian)), expected)


# --- Colour ---

BARS = np.zeros((16, 48, 3), dtype=np.uint8)
BARS[:, :16], BARS[:, 16:32], BARS[:, 32:] = (255, 0, 0), (0, 200, 0), (10, 20, 250)


def assert_bars(file: bytes, tolerance: int) -> None:
    assert np.abs(read(file).pixels.astype(int) - BARS).max() <= tolerance


def jpeg_of_bars(marker: bytes) -> bytes:
    """Return a YCbCr JPEG whose JFIF marker is replaced."""
    file = io.BytesIO()
    Image.fromarray(BARS).save(file, "JPEG", quality=95, subsampling=0)
    jpeg = file.getvalue()
    return jpeg[:2] + marker + jpeg[4 + int.from_bytes(jpeg[4:6], "big") :]


JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
ADOBE_YCC = b"\xff\xee\0\x0eAdobe\0d\0\0\0\0\1"


@pytest.mark.parametrize("syntax", LOSSLESS[:5], ids=lambda syntax: syntax.keyword or syntax)
def test_rgb_is_untouched_in_every_syntax(syntax: uid.UID) -> None:
    assert_bars(lossless(image_dataset(BARS), BARS, syntax), 0)
    planar = image_dataset(BARS)
    planar.PlanarConfiguration = 1
    planar.PixelData = BARS.transpose(2, 0, 1).tobytes()
    assert_bars(written(planar), 0)


@pytest.mark.parametrize(
    ("marker", "photometric"),
    [
        (JFIF, "YBR_FULL_422"),
        (JFIF, "RGB"),
        (b"", "YBR_FULL"),
        (ADOBE_YCC, "YBR_FULL_422"),
        (ADOBE_YCC, "RGB"),
    ],
)
def test_a_ycbcr_jpeg_becomes_rgb_once(marker: bytes, photometric: str) -> None:
    dataset = image_dataset(BARS, photometric=photometric)
    assert_bars(written_compressed(dataset, uid.JPEGBaseline8Bit, [jpeg_of_bars(marker)]), 2)


def test_an_rgb_jpeg_stays_rgb() -> None:
    codestream = imagecodecs.jpeg8_encode(
        BARS, level=95, colorspace="RGB", outcolorspace="RGB", subsampling="444"
    )
    assert_bars(written_compressed(image_dataset(BARS), uid.JPEGBaseline8Bit, [codestream]), 2)


def ycbcr_of_bars() -> np.ndarray:
    return np.asarray(Image.fromarray(BARS).convert("YCbCr"))


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless])
def test_ybr_full_becomes_rgb_once(syntax: uid.UID) -> None:
    ycbcr = ycbcr_of_bars()
    assert_bars(lossless(image_dataset(ycbcr, photometric="YBR_FULL"), ycbcr, syntax), 2)


def test_uncompressed_ybr_full_422_is_expanded() -> None:
    ycbcr = ycbcr_of_bars()
    dataset = image_dataset(ycbcr, photometric="YBR_FULL_422")
    pairs = ycbcr.reshape(-1, 2, 3)
    subsampled = np.stack([pairs[:, 0, 0], pairs[:, 1, 0], pairs[:, 0, 1], pairs[:, 0, 2]], axis=1)
    dataset.PixelData = subsampled.tobytes()
    assert_bars(written(dataset), 2)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_planar_ybr_full_becomes_rgb_once(syntax: uid.UID) -> None:
    dataset = image_dataset(ycbcr_of_bars(), photometric="YBR_FULL")
    dataset.PlanarConfiguration = 1
    dataset.PixelData = ycbcr_of_bars().transpose(2, 0, 1).tobytes()
    assert_bars(written(dataset, syntax), 2)


@pytest.mark.parametrize("photometric", ["YBR_ICT", "RGB"])
def test_lossy_colour_in_jpeg_2000_becomes_rgb_once(photometric: str) -> None:
    codestream = imagecodecs.jpeg2k_encode(BARS, codecformat="j2k", level=60, mct=photometric == "YBR_ICT")
    file = written_compressed(image_dataset(BARS, photometric=photometric), uid.JPEG2000, [codestream])
    # It rings where two bars meet.
    difference = np.abs(read(file).pixels.astype(int) - BARS)
    assert np.percentile(difference, 90) <= 2
    assert difference.max() <= 40


@pytest.mark.parametrize("photometric", ["YBR_RCT", "RGB"])
@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL])
def test_colour_in_htj2k_becomes_rgb_once(syntax: uid.UID, photometric: str) -> None:
    codestream = imagecodecs.htj2k_encode(BARS, reversible=True)
    assert_bars(written_compressed(image_dataset(BARS, photometric=photometric), syntax, [codestream]), 0)


@pytest.mark.parametrize("photometric", ["YBR_RCT", "RGB"])
def test_colour_in_jpeg_2000_becomes_rgb_once(photometric: str) -> None:
    transformed = photometric == "YBR_RCT"
    codestream = imagecodecs.jpeg2k_encode(BARS, codecformat="j2k", reversible=True, mct=transformed)
    dataset = image_dataset(BARS, photometric=photometric)
    assert_bars(written_compressed(dataset, uid.JPEG2000Lossless, [codestream]), 0)


def test_16_bit_colour_is_scaled_by_its_bits() -> None:
    assert_bars(written(image_dataset(BARS.astype(np.uint16) * 257)), 0)
    assert_bars(written(image_dataset(BARS.astype(np.uint16) * 16, bits=12)), 0)


@pytest.mark.parametrize("photometric", ["YBR_FULL", "RGB"])
def test_jp2_boxes_do_not_convert_colours_once_more(photometric: str) -> None:
    stored, space = (ycbcr_of_bars(), "SYCC") if photometric == "YBR_FULL" else (BARS, "SRGB")
    options = {"codecformat": "jp2", "mct": False, "reversible": True, "level": 0}
    codestream = imagecodecs.jpeg2k_encode(stored, colorspace=space, **options)
    dataset = image_dataset(BARS, photometric=photometric)
    assert_bars(written_compressed(dataset, uid.JPEG2000Lossless, [codestream]), 2)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
def test_a_jpeg_whose_components_are_named_rgb_is_rgb(photometric: str) -> None:
    codestream = imagecodecs.jpeg8_encode(
        BARS, level=100, colorspace="RGB", outcolorspace="RGB", subsampling="444"
    )
    marker = codestream.index(b"\xff\xee")
    length = int.from_bytes(codestream[marker + 2 : marker + 4], "big")
    codestream = codestream[:marker] + codestream[marker + 2 + length :]
    assert b"Adobe" not in codestream
    assert b"JFIF" not in codestream
    dataset = image_dataset(BARS, photometric=photometric)
    assert_bars(written_compressed(dataset, uid.JPEGBaseline8Bit, [codestream]), 4)


def palette_dataset(entries: np.ndarray, syntax: uid.UID, first: int = 0) -> Dataset:
    """entries: (N, 3), of uint8 or uint16."""
    stored = (np.arange(30) % len(entries)).astype(np.uint8).reshape(5, 6) + first
    dataset = image_dataset(stored.astype(np.uint8), photometric="PALETTE COLOR")
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    for channel, colour in enumerate(("Red", "Green", "Blue")):
        bits = 8 * entries.dtype.itemsize
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [len(entries), first, bits])
        data = entries[:, channel].astype(entries.dtype.newbyteorder(order)).tobytes()
        if bits == 8 and order == ">":
            data = np.frombuffer(data, "<u2").astype(">u2").tobytes()
        setattr(dataset, f"{colour}PaletteColorLookupTableData", data)
    return dataset


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("first", [0, 7])
def test_a_palette_becomes_rgb(syntax: uid.UID, dtype: type, first: int) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (10, 3)).astype(np.uint8)
    entries = colours if dtype is np.uint8 else colours.astype(np.uint16) * 257
    pixels = read(written(palette_dataset(entries, syntax, first), syntax)).pixels
    np.testing.assert_array_equal(pixels.reshape(-1, 3), np.tile(colours, (3, 1)))


def test_a_palette_of_16_bit_indices_becomes_rgb() -> None:
    colours = np.random.default_rng(0).integers(0, 65536, (3000, 3)).astype(np.uint16)
    dataset = palette_dataset(colours, uid.ExplicitVRLittleEndian, first=100)
    stored = np.array([[0, 100, 101], [2000, 3099, 60_000]], dtype=np.uint16)
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    # Outside of the table the nearest end.
    expected = (colours >> 8)[[0, 0, 1, 1900, 2999, 2999]]
    assert read(written(dataset)).pixels.reshape(-1, 3).tolist() == expected.tolist()


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_an_8_bit_segmented_palette_is_expanded(syntax: uid.UID) -> None:
    dataset = palette_dataset(np.zeros((256, 3), np.uint8), syntax)
    dataset.PixelData = bytes([0, 51, 102, 255] * 7 + [0, 255])
    for colour, top in (("Red", 255), ("Green", 128), ("Blue", 0)):
        delattr(dataset, f"{colour}PaletteColorLookupTableData")
        words = np.frombuffer(bytes([0, 1, 0, 1, 255, top]), "<u2")
        data = words.astype(">u2" if syntax == uid.ExplicitVRBigEndian else "<u2").tobytes()
        setattr(dataset, f"Segmented{colour}PaletteColorLookupTableData", data)
    first = read(written(dataset, syntax)).pixels[0, :4].tolist()
    assert first == [[0, 0, 0], [51, 26, 0], [102, 51, 0], [255, 128, 0]]


def test_a_segmented_palette_bomb_is_malformed() -> None:
    dataset = palette_dataset(np.zeros((256, 3), np.uint16), uid.ExplicitVRLittleEndian)
    for colour in ("Red", "Green", "Blue"):
        delattr(dataset, f"{colour}PaletteColorLookupTableData")
        bomb = np.array([0, 1, 0, *[1, 65535, 9, 1, 65535, 1] * 5000], "<u2").tobytes()
        setattr(dataset, f"Segmented{colour}PaletteColorLookupTableData", bomb)
    file = written(dataset)
    tracemalloc.start()
    assert refusal(file).reason == Reason.MALFORMED
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()


def test_a_segmented_palette_is_expanded() -> None:
    dataset = palette_dataset(np.zeros((256, 3), np.uint16), uid.ExplicitVRLittleEndian)
    dataset.PixelData = bytes([0, 51, 102, 255] * 7 + [0, 255])
    for colour, top in (("Red", 65535), ("Green", 32896), ("Blue", 0)):
        delattr(dataset, f"{colour}PaletteColorLookupTableData")
        # One entry of 0, then a straight line of 255 entries up to the top (PS3.3 C.7.9.2).
        segments = np.array([0, 1, 0, 1, 255, top], dtype="<u2").tobytes()
        setattr(dataset, f"Segmented{colour}PaletteColorLookupTableData", segments)
    assert read(written(dataset)).pixels[0, :4].tolist() == [
        [0, 0, 0],
        [51, 25, 0],
        [102, 51, 0],
        [255, 128, 0],
    ]


# --- Refusals ---


@pytest.mark.parametrize(
    "sop_class",
    [uid.SegmentationStorage, uid.ParametricMapStorage, uid.RTDoseStorage, "1.2.840.10008.5.1.4.1.1.66.7"],
)
def test_pixels_that_are_no_picture_are_not_decoded(sop_class: str) -> None:
    assert refusal(written(film(sop_class=sop_class))).reason == Reason.NON_IMAGE_DICOM


def test_an_object_without_pixels_is_no_image() -> None:
    file = written(film(PixelData=None, SOPClassUID=uid.EncapsulatedPDFStorage))
    assert refusal(file).reason == Reason.NON_IMAGE_DICOM


@pytest.mark.parametrize(
    ("sop_class", "kind", "refused"),
    [
        (uid.CTImageStorage, "LOCALIZER", True),
        (uid.CTImageStorage, "AXIAL", False),
        (uid.VLWholeSlideMicroscopyImageStorage, "LABEL", True),
        (uid.VLWholeSlideMicroscopyImageStorage, "OVERVIEW", True),
        (uid.VLWholeSlideMicroscopyImageStorage, "VOLUME", False),
        (uid.VLPhotographicImageStorage, "LABEL", False),
    ],
)
def test_localizers_and_slide_labels_are_refused(sop_class: uid.UID, kind: str, refused: bool) -> None:
    file = written(image_dataset(BARS, sop_class=sop_class, ImageType=["ORIGINAL", "PRIMARY", kind, "NONE"]))
    if refused:
        assert refusal(file).reason == Reason.LABEL_OR_LOCALIZER
    else:
        assert_bars(file, 0)


@pytest.mark.parametrize("cut", [1, 100, 500])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless])
def test_pixels_that_end_early_are_truncated(syntax: uid.UID, cut: int) -> None:
    # The last 8 bytes of compressed pixels only say that nothing follows.
    cut += 8 * syntax.is_compressed
    assert refusal(lossless(film(), RAMP, syntax)[:-cut]).reason == Reason.TRUNCATED


def test_a_header_that_ends_early_is_truncated() -> None:
    file = written(film(SeriesDescription="a description of some length"))
    cut = file.index(b"description of some")
    assert refusal(file[:cut]).reason == Reason.TRUNCATED


def test_every_cut_of_a_file_is_refused() -> None:
    file = written(film(WindowCenter="2048", WindowWidth="4096"))
    kinds = {refusal(file[:length]).reason for length in range(0, len(file), 17)}
    assert kinds <= {Reason.TRUNCATED, Reason.NON_IMAGE_DICOM, Reason.NOT_AN_IMAGE, Reason.MALFORMED}


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless])
def test_an_overstated_number_of_frames_is_truncated(syntax: uid.UID) -> None:
    file = lossless(film(np.stack([RAMP, RAMP]), NumberOfFrames=2), np.stack([RAMP, RAMP]), syntax)
    claimed = file.replace(b"IS\x02\x002 ", b"IS\x06\x00400000")
    assert claimed != file
    assert refusal(claimed).reason == Reason.TRUNCATED


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGLossless])
def test_a_codestream_of_another_size_is_malformed(syntax: uid.UID) -> None:
    dataset = film()
    file = lossless(dataset, RAMP, syntax)
    dataset.Rows = 16
    again = (
        written(dataset, syntax)
        if syntax != uid.JPEGLossless
        else file.replace(b"\x28\x00\x10\x00US\x02\x00\x20\x00", b"\x28\x00\x10\x00US\x02\x00\x10\x00")
    )
    assert refusal(again).reason == Reason.MALFORMED


def test_a_codestream_that_asks_for_gigabytes_is_refused_before_a_decoder_sees_it() -> None:
    codestream = bytearray(imagecodecs.jpeg2k_encode(RAMP, codecformat="j2k", reversible=True))
    codestream[8:16] = (60_000).to_bytes(4, "big") * 2  # SIZ: Xsiz, Ysiz
    error = refusal(written_compressed(film(), uid.JPEG2000Lossless, [bytes(codestream)]))
    assert error.reason == Reason.MALFORMED
    assert "60000 x 60000" in str(error)


def test_jp2_boxes_that_lead_nowhere_are_malformed() -> None:
    codestream = imagecodecs.jpeg2k_encode(RAMP, codecformat="jp2", reversible=True)
    endless = codestream[:12] + b"\0\0\0\0free" + codestream[12:]
    assert refusal(written_compressed(film(), uid.JPEG2000Lossless, [endless])).reason == Reason.MALFORMED
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    whole = written_compressed(film(**window), uid.JPEG2000Lossless, [codestream])
    np.testing.assert_array_equal(read(whole).pixels, read(written(film(**window))).pixels)


@pytest.mark.parametrize("size", [60_000, 40_000, 10_000])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless])
def test_a_size_beyond_memory_is_refused_from_the_header(syntax: uid.UID, size: int) -> None:
    dataset = film()
    file = lossless(dataset, RAMP, syntax)
    old = [b"\x28\x00" + tag + b"\x00US\x02\x00\x20\x00" for tag in (b"\x10", b"\x11")]
    for element in old:
        assert element in file
        file = file.replace(element, element[:8] + size.to_bytes(2, "little"))
    tracemalloc.start()
    assert refusal(file).reason == Reason.TOO_LARGE
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_deflated_bomb_is_refused_while_inflating() -> None:
    bomb = deflated_zeros(film(), megabytes=1000)
    assert len(bomb) < 2 * 2**20
    tracemalloc.start()
    assert refusal(bomb).reason == Reason.TOO_LARGE
    assert tracemalloc.get_traced_memory()[1] < 400 * 2**20
    tracemalloc.stop()


def test_a_deflated_file_that_ends_early_is_truncated() -> None:
    assert refusal(written(film(), uid.DeflatedExplicitVRLittleEndian)[:-20]).reason == Reason.TRUNCATED


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff", None])
def test_deep_nesting_is_refused(length: bytes | None) -> None:
    body = b""
    for _ in range(1000):
        inner = b"\xfe\xff\x00\xe0" + (length or len(body).to_bytes(4, "little")) + body
        body = b"\x40\x00\x60\x02SQ\0\0" + (length or len(inner).to_bytes(4, "little")) + inner
    file = written(film(PixelData=None)) + body
    assert refusal(file).reason in (Reason.MALFORMED, Reason.TRUNCATED, Reason.NON_IMAGE_DICOM)


def test_pixels_without_a_size_are_malformed() -> None:
    for keyword in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation"):
        assert refusal(written(film(**{keyword: None}))).reason == Reason.MALFORMED, keyword


def test_retired_colour_spaces_are_not_guessed() -> None:
    assert refusal(written(image_dataset(BARS, photometric="HSV"))).reason == Reason.UNSUPPORTED_CODEC


def test_luminance_and_chroma_without_a_decoder_are_an_unsupported_codec() -> None:
    partial = image_dataset(BARS, photometric="YBR_PARTIAL_422")
    partial.PixelData = bytes(BARS.size * 2 // 3)
    deep = image_dataset(BARS.astype(np.uint16), photometric="YBR_FULL")
    for dataset in (partial, deep):
        assert refusal(written(dataset)).reason == Reason.UNSUPPORTED_CODEC


# --- Attributes and flags ---


def test_attributes_are_those_worth_searching_by_and_no_others() -> None:
    dataset = film(
        WindowCenter="2048",
        WindowWidth="4096",
        BodyPartExamined="CHEST",
        Laterality="L",
        ViewPosition="PA",
        Manufacturer=" Acme ",
        StudyDate="20240131",
        PatientID="MRN-7",
        PatientName="Doe^John",
        StudyInstanceUID="2.25.10",
        SeriesInstanceUID="2.25.11",
        StudyDescription="Doe, John: chest",
    )
    assert read(written(dataset)).attributes == Attributes(
        modality="DX",
        body_part="CHEST",
        laterality="L",
        view_position="PA",
        manufacturer="Acme",
        year=2024,
        patient="MRN-7",
        study="2.25.10",
        series="2.25.11",
        instance="2.25.1",
    )


def test_empty_and_damaged_attributes_are_none() -> None:
    dataset = film(WindowCenter="2048", WindowWidth="4096", BodyPartExamined="", StudyDate="")
    got = read(written(dataset)).attributes
    assert (got.body_part, got.year, got.patient) == (None, None, None)


@pytest.mark.parametrize(
    ("keyword", "name"),
    [
        ("Modality", "modality"),
        ("BodyPartExamined", "body_part"),
        ("ViewPosition", "view_position"),
        ("Laterality", "laterality"),
    ],
)
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Chest", "CHEST"),
        ("LOWER_LEG 2", "LOWER_LEG 2"),
        ("C-Spine AP/LAT", "C-SPINE AP/LAT"),
        ("DOE^JOHN 19700101", None),
        ("A\nB", None),
        ("SEVENTEEN LETTERS", None),
        ("DOE^JOHN", None),
        ("BRUST\xdc", None),
    ],
)
def test_coded_attributes_hold_no_free_text(
    keyword: str, name: str, words: str, expected: str | None
) -> None:
    file = written(film(**{**WINDOW, keyword: "X" * len(words)}))
    assert file.count(b"X" * len(words)) == 1
    got = read(file.replace(b"X" * len(words), words.encode("latin-1"))).attributes
    assert getattr(got, name) == expected


@pytest.mark.parametrize("words", ["Doe^John", "Acme\nDoe", "A" * 65])
def test_a_manufacturer_that_is_no_short_line_is_left_out(words: str) -> None:
    assert read(written(film(Manufacturer=words, **WINDOW))).attributes.manufacturer is None


@pytest.mark.parametrize(
    ("charset", "name"),
    [("ISO_IR 100", "Müller"), ("ISO_IR 192", "東芝"), ("ISO 2022 IR 87", "東芝"), (None, "Acme\\Second")],
)
def test_text_is_read_in_the_character_set_of_the_file(charset: str | None, name: str) -> None:
    elements = {"SpecificCharacterSet": ["", charset] if charset and "2022" in charset else charset}
    file = written(film(Manufacturer=name, **WINDOW, **elements))
    assert read(file).attributes.manufacturer == name.split("\\")[0]


def test_the_side_of_an_enhanced_image_comes_from_its_functional_group() -> None:
    group = dataset_of(FrameAnatomySequence=sequence_item(FrameLaterality="R"))
    dataset = film(np.stack([RAMP]), NumberOfFrames=1, SharedFunctionalGroupsSequence=Sequence([group]))
    assert read(written(dataset)).attributes.laterality == "R"


@pytest.mark.parametrize(
    "elements",
    [
        {"Modality": "US"},
        {"SOPClassUID": uid.UltrasoundImageStorage},
        {"SOPClassUID": uid.SecondaryCaptureImageStorage},
        {"BurnedInAnnotation": "YES"},
        {"Modality": "US", "BurnedInAnnotation": "NO"},
        {"Modality": "IVUS"},
        {"Modality": "BDUS"},
        {"SpecimenLabelInImage": "YES"},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
    ],
)
def test_burned_in_text_is_suspected_where_it_is_usual(elements: dict[str, Any]) -> None:
    dataset = film(**{"WindowCenter": "2048", "WindowWidth": "4096", **elements})
    assert read(written(dataset)).flags == ("burned_in_suspected",)
    assert read(written(film(WindowCenter="2048", WindowWidth="4096", BurnedInAnnotation="NO"))).flags == ()
