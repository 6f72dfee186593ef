"""Decoded samples of any mode and depth to RGB."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.images.levels import grey_levels, render_grey
from medsiglip_search.windows import ValueRange, Window

_STRIP_PIXELS = 1 << 18
_LEVELS = Window(0, 255)
# Pillow's modes of more than 8 bits a sample, which it would clip at 255; all of them are grey.
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of one frame.

    array: (H, W) or (H, W, N): grey, or red, green and blue; then alpha; then what is not shown. uint8 are
        levels to be shown as they are; of any other type they are values, without a unit.
    has_alpha: the sample after the colours is the opacity, full at the highest value of an integer type, at
        1 of a real one. premultiplied: the colours were multiplied by it.
    white_is_zero: the lowest value is white.
    """

    array: np.ndarray
    is_colour: bool
    has_alpha: bool = False
    premultiplied: bool = False
    white_is_zero: bool = False

    @property
    def colours(self) -> np.ndarray:
        """(H, W) grey or (H, W, 3) colour."""
        if self.is_colour:
            return self.array[..., :3]
        return self.array[..., 0] if self.array.ndim == 3 else self.array

    @property
    def alpha(self) -> np.ndarray | None:
        """(H, W), or None where everything is opaque."""
        return self.array[..., 3 if self.is_colour else 1] if self.has_alpha else None


def samples_to_rgb(samples: Samples, window: Window | None) -> np.ndarray:
    """Return (H, W, 3) uint8; transparency is black.

    window: for grey values, in stored values. Without one their real range is shown: the lowest finite value
        that is not wholly transparent is black and the highest white (the other way round for
        white_is_zero), the same for all colours, so that hues stay.
    Raises InvalidQuery for a window on levels or colours.
    """
    has_levels = samples.array.dtype == np.uint8
    if window is not None and (has_levels or samples.is_colour):
        raise no_values_to_window()
    opacity = None if samples.premultiplied else samples.alpha
    if has_levels and samples.is_colour and opacity is None:
        return samples.colours
    if has_levels and opacity is not None and not samples.white_is_zero:
        return _levels_over_black(samples.array[..., : 4 if samples.is_colour else 2])
    shown = _LEVELS if has_levels else window or _real_range(samples)
    if not samples.is_colour and opacity is None:
        return render_grey(samples.colours, shown, samples.white_is_zero)
    return _composed(samples.colours, opacity, shown, samples.white_is_zero)


def image_to_rgb(image: Image.Image) -> np.ndarray:
    """Return (H, W, 3) uint8 of a loaded image of 8 bits a sample or fewer; transparency is black."""
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for top, bottom in _strips(image.height, image.width):
        pixels[top:bottom] = np.asarray(_opaque(image.crop((0, top, image.width, bottom))))
    return pixels


def with_values(image: Image.Image) -> Samples | Image.Image:
    """Return the values of a loaded image of grey of more than 8 bits; any other image as it is."""
    return Samples(np.asarray(image), is_colour=False) if image.mode in _DEEP_MODES else image


def range_of(samples: Samples) -> ValueRange | None:
    """Return which values grey samples have, all shown without a window; None of levels and colours."""
    if samples.array.dtype == np.uint8 or samples.is_colour:
        return None
    window = _real_range(samples)
    return ValueRange(window.low, window.high, None, window)


def no_values_to_window() -> InvalidQuery:
    """Return the error for a window on a picture of colours, or of grey levels already made."""
    return InvalidQuery("A picture of 8 bits or in colour has no values to window. Leave the window out.")


def _real_range(samples: Samples) -> Window:
    colours, alpha = samples.colours, samples.alpha
    ends: list[float] = []
    for top, bottom in _strips(*colours.shape[:2]):
        values = colours[top:bottom]
        if alpha is not None:
            values = values[alpha[top:bottom] > 0]
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        if values.size:
            ends += float(values.min()), float(values.max())
    return Window(min(ends), max(ends)) if ends else Window(0.0, 0.0)


def _levels_over_black(array: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 of (H, W, 2 or 4) grey or colour and alpha."""
    pixels = np.empty((*array.shape[:2], 3), dtype=np.uint8)
    for top, bottom in _strips(*array.shape[:2]):
        # Pillow's integers are several times as fast as real numbers.
        pixels[top:bottom] = np.asarray(_opaque(Image.fromarray(array[top:bottom])))
    return pixels


def _composed(
    colours: np.ndarray, alpha: np.ndarray | None, window: Window, white_is_zero: bool
) -> np.ndarray:
    """Return (H, W, 3) uint8 of (H, W) or (H, W, 3) values, multiplied by their opacity."""
    pixels = np.empty((*colours.shape[:2], 3), dtype=np.uint8)
    for top, bottom in _strips(*colours.shape[:2]):
        levels = grey_levels(colours[top:bottom], window)
        if levels.ndim == 2:
            levels = levels[..., np.newaxis]
        if white_is_zero:
            levels = 255 - levels
        if alpha is not None:
            levels = np.rint(levels * _opacity(alpha[top:bottom])[..., np.newaxis])
        pixels[top:bottom] = levels
    return pixels


def _opacity(alpha: np.ndarray) -> np.ndarray:
    """Return float32 from 0 to 1."""
    full = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1
    return np.clip(np.nan_to_num(alpha.astype(np.float32)) / np.float32(full), 0, 1)


def _opaque(strip: Image.Image) -> Image.Image:
    """Return the image in RGB, over black where it is transparent."""
    if strip.has_transparency_data:
        layered = strip.convert("RGBA")
        strip = Image.new("RGB", layered.size)
        strip.paste(layered, mask=layered.getchannel("A"))
    return strip if strip.mode == "RGB" else strip.convert("RGB")


def _strips(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Yield the first row of each strip, and the one after its last.

    Strips fit in the processor's cache: faster than the whole, and no copy of that in memory.
    """
    height = max(1, _STRIP_PIXELS // columns)
    for top in range(0, rows, height):
        yield top, min(top + height, rows)
