"""Modality values to grey levels: exact levels at the ends and the middle of a window."""

import numpy as np
import pytest

from medsiglip_search.images.grey import is_flat
from medsiglip_search.images.levels import (
    counted,
    grey_levels,
    percentile_range,
    percentile_window,
    render_ct,
    render_grey,
)
from medsiglip_search.images.pixelwise import rgb_of
from medsiglip_search.windows import Window


def test_ct_shows_the_three_windows_in_red_green_and_blue() -> None:
    hu = np.array([[-1225, -1000, -135], [0, 40, 80], [215, 1025, 3071]], dtype=np.int16)
    pixels = render_ct(hu)
    assert pixels[0].tolist() == [[0, 0, 0], [26, 0, 0], [124, 0, 0]]
    assert pixels[1].tolist() == [[139, 98, 0], [143, 128, 128], [148, 157, 255]]
    assert pixels[2].tolist() == [[163, 255, 255], [255, 255, 255], [255, 255, 255]]


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_ct_does_not_depend_on_the_type_of_the_values(dtype: type) -> None:
    hu = np.arange(-1300, 1300, dtype=np.int16).reshape(50, 52)
    np.testing.assert_array_equal(render_ct(hu.astype(dtype)), render_ct(hu))


def test_grey_is_the_same_in_all_channels_and_inverted_on_request() -> None:
    values = np.array([[0, 1000, 2000, 4095]], dtype=np.uint16)
    assert render_grey(values, Window(0, 4000))[0].tolist() == [[0] * 3, [64] * 3, [128] * 3, [255] * 3]
    assert render_grey(values, Window(0, 4000), invert=True)[0, :, 0].tolist() == [255, 191, 127, 0]


def test_a_sigmoid_window_is_half_at_its_centre_and_flat_far_away() -> None:
    levels = grey_levels(np.array([[-1e30, 0, 100, 200, 1e30]]), Window(0, 200, "sigmoid"))
    assert levels.tolist() == [[0, 30, 128, 225, 255]]


def test_a_window_without_width_is_a_threshold() -> None:
    assert grey_levels(np.array([[1, 2, 3]]), Window(2, 2)).tolist() == [[0, 0, 255]]


def test_a_window_narrower_than_float32_can_hold_still_separates_large_values() -> None:
    values = np.array([[2**31, 2**31 + 1, 2**31 + 2]], dtype=np.uint32)
    assert grey_levels(values, Window(2**31, 2**31 + 2)).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "<i2", ">i2"])
@pytest.mark.parametrize("shape", [(700, 300), (300, 700), (3, 5)])
def test_a_table_gives_what_each_value_gives_by_itself(dtype: str, shape: tuple[int, int]) -> None:
    limits = np.iinfo(dtype)
    values = np.random.default_rng(0).integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)
    values[0, 0], values[-1, -1] = limits.min, limits.max
    window, other = Window(-20, 90), Window(0, 3000, "sigmoid")

    def shades(part: np.ndarray) -> list[np.ndarray]:
        return [grey_levels(part, window), grey_levels(part, other), 255 - grey_levels(part, window)]

    expected = np.stack(shades(values.astype(np.float64)), axis=-1)
    np.testing.assert_array_equal(rgb_of(values, shades), expected)
    np.testing.assert_array_equal(rgb_of(values.T, shades), expected.transpose(1, 0, 2))


def test_a_picture_of_few_different_values_makes_a_table_of_those_alone() -> None:
    asked: list[int] = []

    def shades(part: np.ndarray) -> list[np.ndarray]:
        asked.append(part.size)
        return [part.astype(np.uint8)]

    values = np.array([[40_000, 40_001] * 50] * 100, dtype=np.uint16)
    assert rgb_of(values, shades)[0, :2].tolist() == [[64, 64, 64], [65, 65, 65]]
    assert asked == [2]


def test_nan_is_black_and_infinity_white() -> None:
    assert grey_levels(np.array([[np.nan, np.inf, -np.inf]]), Window(0, 1)).tolist() == [[0, 255, 0]]


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int32])
def test_a_picture_larger_than_one_strip_is_seamless(dtype: type) -> None:
    values = np.broadcast_to(np.arange(1000, dtype=dtype), (1000, 1000))
    levels = render_grey(values, Window(0, 999))[..., 1]
    np.testing.assert_array_equal(levels, np.broadcast_to(levels[0], levels.shape))
    assert levels[0, [0, 500, 999]].tolist() == [0, 128, 255]


def test_percentiles_leave_out_the_outliers_and_what_is_not_finite() -> None:
    values = np.concatenate([np.arange(1001.0), [1e9, np.nan, np.inf]]).reshape(4, 251)
    window = percentile_window(values)
    assert (window.low, window.high) == pytest.approx((5.005, 995.995))


def test_a_bright_spot_too_small_for_the_percentiles_still_shows() -> None:
    values = np.zeros((100, 100), dtype=np.uint16)
    values[50, 50] = 700
    assert percentile_window(values) == Window(0, 700)
    assert render_grey(values, None)[50, 50].tolist() == [255, 255, 255]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("size", [1, 2, 7, 1000, 40_001])
def test_counting_values_gives_numpys_percentiles(dtype: type, size: int) -> None:
    values = (np.random.default_rng(size).normal(60, 20, size)).clip(0, 127).astype(dtype)
    for percentiles in ((0.5, 99.5), (0, 100), (33.3, 66.7)):
        expected = np.percentile(values, percentiles).tolist()
        different, counts = counted(values)
        assert list(percentile_range(different, percentiles, counts)) == expected


def test_counted_values_need_not_be_in_order() -> None:
    values, counts = np.array([30.0, np.nan, 10.0, 20.0]), np.array([1, 9, 1, 1])
    assert percentile_range(values, (0, 50), counts) == (10.0, 20.0)


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (63, 9), (64, 0), (199, 9)])
def test_one_pixel_is_enough_not_to_be_flat(place: tuple[int, int]) -> None:
    pixels = np.full((200, 10, 3), 7, dtype=np.uint8)
    assert is_flat(pixels)
    pixels[place] = (7, 8, 7)
    assert not is_flat(pixels)


def test_one_colour_is_flat_and_its_change_from_row_to_row_is_not() -> None:
    pixels = np.tile(np.array([10, 20, 30], np.uint8), (128, 4, 1))
    assert is_flat(pixels)
    pixels[64:] = (10, 20, 31)
    assert not is_flat(pixels)
