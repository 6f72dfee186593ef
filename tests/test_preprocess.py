"""Preprocessing is TensorFlow's, to the grey level."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medsiglip_search.encoders.fitting import fitted, pad_square
from medsiglip_search.encoders.preprocess import preprocess
from medsiglip_search.records import PreprocessSpec, Resample

REFERENCE = Path(__file__).parents[1].parent / "shared" / "reference" / "resize"
SOURCES = sorted(REFERENCE.glob("*.source.png"))


def grey(rows: list[list[int]]) -> np.ndarray:
    """Return (H, W, 3) uint8 with the same values in all three channels."""
    return np.repeat(np.array(rows, dtype=np.uint8)[:, :, None], 3, axis=2)


def levels(image: np.ndarray, spec: PreprocessSpec) -> list[list[int]]:
    """Return the grey levels of the first channel after the resize."""
    return fitted(image, spec)[:, :, 0].tolist()


def grey_levels(batch: torch.Tensor) -> np.ndarray:
    """Undo the normalisation by 0.5 and 0.5: (N, size, size, 3) grey levels."""
    return ((batch * 0.5 + 0.5) * 255).permute(0, 2, 3, 1).numpy()


@pytest.mark.skipif(not SOURCES, reason="the reference pictures are not here")
@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name.split(".")[0])
def test_equals_the_tensorflow_reference(source: Path, fit: str) -> None:
    expected_file = source.with_name(
        source.name.replace("source", {"pad": "padded", "stretch": "stretched"}[fit])
    )
    expected = np.asarray(Image.open(expected_file).convert("RGB"), dtype=int)
    image = np.asarray(Image.open(source).convert("RGB"))

    result = grey_levels(preprocess([image], PreprocessSpec(fit=fit)))[0]

    difference = np.abs(result.round().astype(int) - expected)
    assert difference.max() <= 1
    assert (difference == 0).mean() >= 0.999
    assert np.abs(result - result.round()).max() < 1e-3


def test_enlarging_interpolates_between_pixel_centres() -> None:
    image = grey([[0, 100], [200, 40]])

    assert levels(image, PreprocessSpec(size=4)) == [
        [0, 25, 75, 100],
        [50, 58, 76, 85],
        [150, 126, 78, 55],
        [200, 160, 80, 40],
    ]


def test_shrinking_reads_only_the_pixels_beside_each_position() -> None:
    image = grey([[255, 10, 20, 255, 255, 30, 40, 255]] * 8)

    assert levels(image, PreprocessSpec(size=2)) == [[15, 35], [15, 35]]


def test_fractions_of_a_grey_level_are_dropped() -> None:
    assert levels(grey([[0, 1], [0, 1]]), PreprocessSpec(size=4)) == [[0, 0, 0, 1]] * 4


def test_black_is_minus_one_and_white_is_one() -> None:
    result = preprocess([grey([[0]]), grey([[255]])], PreprocessSpec(size=2))

    assert result.dtype == torch.float32
    assert result.tolist() == [[[[-1.0] * 2] * 2] * 3, [[[1.0] * 2] * 2] * 3]


def test_mean_and_std_belong_to_their_channels() -> None:
    spec = PreprocessSpec(size=1, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    image = np.array([[[51, 102, 153]]], dtype=np.uint8)

    assert preprocess([image], spec).flatten().tolist() == pytest.approx([0.2, -0.2, -1.6])


def test_padding_centres_the_picture_on_black() -> None:
    image = grey([[7, 7, 7, 7], [9, 9, 9, 9]])

    assert pad_square(image)[:, :, 0].tolist() == [[0] * 4, [7] * 4, [9] * 4, [0] * 4]


def test_an_odd_remainder_of_the_padding_goes_below_and_right() -> None:
    assert pad_square(grey([[7, 8], [7, 8], [7, 8]]))[:, :, 0].tolist() == [[7, 8, 0]] * 3
    assert pad_square(grey([[5, 6, 7], [5, 6, 7]]))[:, :, 0].tolist() == [[5, 6, 7], [5, 6, 7], [0, 0, 0]]


def test_stretch_ignores_the_aspect_and_pad_keeps_it() -> None:
    white = np.full((2, 4, 3), 255, dtype=np.uint8)
    pad = PreprocessSpec(size=4)

    padded, stretched = preprocess([white], pad), preprocess([white], replace(pad, fit="stretch"))

    assert padded[0, 0, :, 0].tolist() == [-1, 1, 1, -1]
    assert stretched.unique().tolist() == [1]


def test_crop_keeps_the_middle_of_the_longer_side() -> None:
    wide, spec = grey([[1, 2, 3, 4], [5, 6, 7, 8]]), PreprocessSpec(size=2, fit="crop")

    assert levels(wide, spec) == [[2, 3], [6, 7]]
    assert levels(wide.transpose(1, 0, 2), spec) == [[2, 6], [3, 7]]
    assert levels(wide[:, :2], spec) == [[1, 2], [5, 6]]


@pytest.mark.parametrize("resample", ["tf_bilinear", "bicubic", "bilinear"])
def test_crop_resizes_the_shorter_side(resample: Resample) -> None:
    rows = np.arange(0, 240, 4)
    tall = np.repeat(grey([[value] for value in rows]), 20, axis=1)  # 60 rows of 20

    column = fitted(tall, PreprocessSpec(size=10, fit="crop", resample=resample))[:, 0, 0]

    # Halved, the middle 10 of 30 rows are the means of the pairs of rows 20 to 39.
    assert column.tolist() == pytest.approx((rows[20:40:2] + 2).tolist(), abs=1)


def test_a_strip_is_not_enlarged_as_a_whole() -> None:
    strip = np.full((90_000_000, 1, 3), 200, np.uint8)
    strip[45_000_000 - 50 : 45_000_000 + 50] = 100

    square = fitted(strip, PreprocessSpec(size=8, fit="crop", resample="bicubic"))

    assert square.shape == (8, 8, 3)
    assert np.unique(square).tolist() == [100]


@pytest.mark.parametrize("shape", [(100, 60, 3), (10, 30, 3)])
def test_bilinear_is_pillows(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.BILINEAR))

    assert np.array_equal(fitted(image, PreprocessSpec(28, "stretch", "bilinear")), expected)


@pytest.mark.parametrize("shape", [(100, 60, 3), (10, 30, 3)])
def test_bicubic_is_pillows(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    spec = PreprocessSpec(size=28, fit="stretch", resample="bicubic")
    expected = np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.BICUBIC))

    assert np.array_equal(grey_levels(preprocess([image], spec))[0].round(), expected)


def test_pictures_of_different_sizes_share_a_batch_in_order() -> None:
    images = [np.full(shape, value, dtype=np.uint8) for shape, value in [((9, 9, 3), 10), ((40, 40, 3), 20)]]

    assert grey_levels(preprocess(images, PreprocessSpec(size=8))).mean(axis=(1, 2, 3)) == pytest.approx(
        [10, 20]
    )


def test_no_picture_gives_an_empty_batch() -> None:
    assert preprocess([], PreprocessSpec(size=8)).shape == (0, 3, 8, 8)


def test_views_and_read_only_arrays_are_taken_as_they_are() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    frozen = image.copy()
    frozen.flags.writeable = False
    spec = PreprocessSpec(size=4)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mirrored, same = preprocess([image[:, ::-1], frozen], spec)

    assert torch.equal(mirrored.flip(2), same)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
    ids=["no channels", "one channel", "four channels", "empty", "float"],
)
def test_anything_but_rgb_bytes_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be"):
        preprocess([image], PreprocessSpec(size=4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_grey_levels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)

    assert torch.equal(
        preprocess([image], PreprocessSpec(), "cuda").cpu(), preprocess([image], PreprocessSpec())
    )
