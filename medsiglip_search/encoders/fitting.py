"""RGB pictures -> the square that an encoder sees, as a `PreprocessSpec` says; needs no torch."""

from functools import lru_cache

import numpy as np
from PIL import Image

from medsiglip_search.records import PreprocessSpec, Resample

LONGEST = 100
"""How many times longer than wide a picture is at most before its middle is cropped."""


def fitted(image: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    """Return (size, size, 3) uint8: the picture as the encoder sees it, before normalisation.

    What is fitted already comes back as it is. Raises ValueError for anything but (H, W, 3) uint8.
    """
    check(image)
    square = (spec.size, spec.size)
    if spec.fit == "crop":
        part = _middle_of_strip(image)
        return middle(resized(part, _covering(part.shape, spec.size), spec.resample), spec.size)
    return resized(pad_square(image) if spec.fit == "pad" else image, square, spec.resample)


def check(image: np.ndarray) -> None:
    """Raise ValueError for anything but (H, W, 3) uint8."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"a picture must be (H, W, 3) uint8, not {image.shape} {image.dtype}")


def pad_square(image: np.ndarray) -> np.ndarray:
    """Return the picture in the middle of a black square of its longer side.

    An odd remainder goes below and to the right.
    """
    rows, columns = image.shape[:2]
    side = max(rows, columns)
    if rows == columns:
        return image
    square = np.zeros((side, side, 3), dtype=np.uint8)
    top, left = (side - rows) // 2, (side - columns) // 2
    square[top : top + rows, left : left + columns] = image
    return square


def middle(image: np.ndarray, size: int) -> np.ndarray:
    """Return the (size, size, 3) in the middle of a picture that is at least so large.

    Of an odd remainder, the smaller or the larger half is above and to the left, as torchvision's CenterCrop
    has it: Python rounds a half to the even number.
    """
    top, left = (round((length - size) / 2) for length in image.shape[:2])
    return image[top : top + size, left : left + size]


def _covering(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """Return rows and columns of a picture whose shorter side is `size`; the longer one is rounded down."""
    rows, columns = shape[:2]
    short = min(rows, columns)
    return size * rows // short, size * columns // short


def _middle_of_strip(image: np.ndarray) -> np.ndarray:
    """Return the picture, or the middle of one so long that to enlarge it all would take gigabytes."""
    short = min(image.shape[:2])
    rows, columns = (
        slice(max(0, (length - LONGEST * short) // 2), (length + LONGEST * short + 1) // 2)
        for length in image.shape[:2]
    )
    return image[rows, columns]


def resized(image: np.ndarray, shape: tuple[int, int], resample: Resample) -> np.ndarray:
    """Return (rows, columns, 3) uint8 of this shape, the aspect ignored."""
    if image.shape[:2] == shape:
        return image
    if resample == "tf_bilinear":
        return _tf_bilinear(image, *shape)
    # What published configurations name is Pillow's resize, which widens the kernel when it shrinks.
    kernel = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[resample]
    return np.array(Image.fromarray(image).resize(shape[::-1], kernel))


def _tf_bilinear(image: np.ndarray, to_rows: int, to_columns: int) -> np.ndarray:
    """Return (to_rows, to_columns, 3) uint8, as `tf.image.resize(..., antialias=False)` cast to uint8.

    torch's `interpolate` has the same kernel, but it weighs in another order, and where the exact result is
    a whole number its last bit decides which grey level the cast keeps. This is TensorFlow's own order
    (resize_bilinear_op.cc), and it reads only the four pixels that each result needs.
    """
    rows, columns = image.shape[:2]
    above, below, down = between(rows, to_rows)
    left, right, across = between(columns, to_columns)
    # The three colours of all columns in one line: gathered at once, that takes a third of the time.
    left, right = ((3 * places[:, None] + np.arange(3)).ravel() for places in (left, right))
    lines, across = image.reshape(rows, 3 * columns), across.repeat(3)
    top = _mixed(lines[above].take(left, axis=1), lines[above].take(right, axis=1), across)
    bottom = _mixed(lines[below].take(left, axis=1), lines[below].take(right, axis=1), across)
    levels = _mixed(top, bottom, down[:, None])
    return levels.astype(np.uint8).reshape(
        to_rows, to_columns, 3
    )  # drops the fraction, as TensorFlow's cast does


def _mixed(a: np.ndarray, b: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Return float32 values on the way from `a`, 0, to `b`, 1."""
    start = a.astype(np.float32)
    mixed = b.astype(np.float32)
    mixed -= start
    mixed *= way
    mixed += start
    return mixed


@lru_cache(maxsize=64)
def between(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each target position the two source positions beside it and the way between, 0..1."""
    scale = np.float32(source) / np.float32(target)
    position = (np.arange(target, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    before = np.floor(position)
    first = before.clip(0).astype(np.int64)
    second = np.ceil(position).clip(None, source - 1).astype(np.int64)
    return first, second, position - before
