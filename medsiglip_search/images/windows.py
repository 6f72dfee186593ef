"""Modality values to grey levels: the windows, how one is applied, and the fallback where a file has none."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Window:
    """The values shown as black (`low`) and white (`high`), in modality units (HU for CT).

    curve: "sigmoid" is the sigmoid of PS3.3 C.11.2.1.3.1, which has its centre between the two and its
        width from one to the other.
    """

    low: float
    high: float
    curve: Literal["linear", "sigmoid"] = "linear"


# Width/level 2250/-100, 350/40 and 80/40, which MedSigLIP was trained on (arXiv 2507.05201, 2.1.2); HU.
CT_WINDOWS = {"wide": Window(-1225, 1025), "soft_tissue": Window(-135, 215), "brain": Window(0, 80)}

FALLBACK_PERCENTILES = (0.5, 99.5)
_PERCENTILE_SAMPLE = 1_000_000
_STRIP_VALUES = 1 << 18


def render_ct(hu: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB of (H, W) Hounsfield units, one of CT_WINDOWS in each channel."""
    pixels = np.empty((*hu.shape, 3), dtype=np.uint8)
    for channel, window in enumerate(CT_WINDOWS.values()):
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


def percentile_window(values: np.ndarray) -> Window:
    """Return the window from the 0.5th to the 99.5th percentile of the finite values.

    Where the two are the same value the whole range is taken. Large arrays are sampled evenly.
    """
    sample = values.reshape(-1)[:: max(1, values.size // _PERCENTILE_SAMPLE)]
    finite = sample[np.isfinite(sample)] if values.dtype.kind == "f" else sample
    if not finite.size:
        return Window(0.0, 0.0)
    low, high = np.percentile(finite, FALLBACK_PERCENTILES)
    if low == high:
        whole = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        low, high = whole.min(), whole.max()
    return Window(float(low), float(high))
