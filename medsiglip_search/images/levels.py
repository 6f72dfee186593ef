"""Modality values to grey levels: how a window is applied, and the one that fits where a file has none."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medsiglip_search.windows import RenderSpec, Window

_PERCENTILE_SAMPLE = 1_000_000
_STRIP_VALUES = 1 << 18


def render_ct(hu: np.ndarray, windows: Sequence[Window] = RenderSpec().ct) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB of (H, W) Hounsfield units, one of three windows in each channel."""
    pixels = np.empty((*hu.shape, 3), dtype=np.uint8)
    for channel, window in enumerate(windows):
        pixels[..., channel] = grey_levels(hu, window)
    return pixels


def render_grey(values: np.ndarray, window: Window | None, invert: bool = False) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB, three equal channels, of (H, W) modality values.

    window: None takes percentile_window of the values.
    invert: the lowest value is white (MONOCHROME1, PS3.3 C.7.6.3.1.2).
    """
    levels = grey_levels(values, window or percentile_window(values))
    if invert:
        levels = 255 - levels
    return np.stack([levels, levels, levels], axis=-1)


def grey_levels(values: np.ndarray, window: Window) -> np.ndarray:
    """Return (H, W) uint8 of (H, W) values: 0 at window.low and below, 255 at window.high and above.

    NaN is black. A window of no width is a threshold: white above it.
    """
    levels = np.empty(values.shape, dtype=np.uint8)
    # In strips, so that a large picture takes no floating-point copy of itself.
    height = max(1, _STRIP_VALUES // max(1, values.shape[1]))
    for top in range(0, values.shape[0], height):
        _fill_levels(values[top : top + height], window, levels[top : top + height])
    return levels


def _fill_levels(values: np.ndarray, window: Window, levels: np.ndarray) -> None:
    width = window.high - window.low
    if not width > 0:
        levels[...] = np.where(values > window.low, 255, 0)
        return
    # float32 holds every 16-bit integer; wider integers would lose the bits that a narrow window shows.
    wide = values.dtype.itemsize > 2 and values.dtype != np.float32
    shades: npt.NDArray[np.floating] = values.astype(np.float64 if wide else np.float32)
    if window.curve == "sigmoid":
        shades -= (window.low + window.high) / 2
        np.clip(shades, -20 * width, 20 * width, out=shades)  # exp would overflow; the curve is flat there
        shades = 255 / (1 + np.exp(-4 / width * shades))
    else:
        shades -= window.low
        shades *= 255 / width
    np.clip(shades, 0, 255, out=shades)
    if values.dtype.kind == "f":
        np.nan_to_num(shades, copy=False, nan=0.0)
    shades += 0.5
    levels[...] = shades.astype(np.uint8)


def percentile_window(
    values: np.ndarray, percentiles: tuple[float, float] = RenderSpec().percentiles
) -> Window:
    """Return the window from one percentile of the finite values to another.

    Where the two are the same value the whole range is taken. Large arrays are sampled evenly.
    """
    sample = values.reshape(-1)[:: max(1, values.size // _PERCENTILE_SAMPLE)]
    finite = sample[np.isfinite(sample)] if values.dtype.kind == "f" else sample
    if not finite.size:
        return Window(0.0, 0.0)
    low, high = np.percentile(finite, percentiles)
    if low == high:
        whole = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        low, high = whole.min(), whole.max()
    return Window(float(low), float(high))
