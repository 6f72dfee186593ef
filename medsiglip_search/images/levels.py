"""Modality values to grey levels: how a window is applied, and the one that fits where a file has none."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medsiglip_search.images.pixelwise import rgb_of
from medsiglip_search.windows import RenderSpec, Window

PERCENTILE_SAMPLE = 1_000_000
"""Values that percentiles are taken of at most; of more, every n-th."""


def render_ct(hu: np.ndarray, windows: Sequence[Window] = RenderSpec().ct) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB of (H, W) Hounsfield units, one of three windows in each channel."""
    return rgb_of(hu, lambda values: [grey_levels(values, window) for window in windows])


def render_grey(values: np.ndarray, window: Window | None, invert: bool = False) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB, three equal channels, of (H, W) modality values.

    window: None takes percentile_window of the values.
    invert: the lowest value is white (MONOCHROME1, PS3.3 C.7.6.3.1.2).
    """
    shown = window or percentile_window(values)

    def levels(part: np.ndarray) -> list[np.ndarray]:
        upright = grey_levels(part, shown)
        return [255 - upright if invert else upright]

    return rgb_of(values, levels)


def grey_levels(values: np.ndarray, window: Window) -> np.ndarray:
    """Return uint8 in the shape of the values: 0 at window.low and below, 255 at window.high and above.

    NaN is black. A window of no width is a threshold: white above it.
    """
    width = window.high - window.low
    if not width > 0:
        return np.where(values > window.low, np.uint8(255), np.uint8(0))
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
    return shades.astype(np.uint8)


def percentile_window(
    values: np.ndarray, percentiles: tuple[float, float] = RenderSpec().percentiles
) -> Window:
    """Return the window from one percentile of the finite values to another.

    Where the two are the same value the whole range is taken. Large arrays are sampled evenly.
    """
    sample = values.reshape(-1)[:: max(1, values.size // PERCENTILE_SAMPLE)]
    different, counts = counted(sample) if sample.size else (sample, None)
    low, high = percentile_range(different, percentiles, counts)
    return Window(*(value_range(values) if low == high else (low, high)))


def percentile_range(
    values: np.ndarray, percentiles: tuple[float, float], counts: np.ndarray | None = None
) -> tuple[float, float]:
    """Return the two percentiles of the finite values, of all of them; zeros where there are none.

    counts: how often each of the values occurs; once by default.
    """
    finite = np.isfinite(values)
    if not finite.any():
        return 0.0, 0.0
    if counts is None:
        low, high = np.percentile(values[finite] if values.dtype.kind == "f" else values, percentiles)
        return float(low), float(high)
    values, counts = values[finite], counts[finite]
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(counts[order])
    places = np.array(percentiles) / 100 * (ends[-1] - 1)
    below, above = (
        values[order][np.searchsorted(ends, rank, side="right")].astype(np.float64)
        for rank in (np.floor(places), np.ceil(places))
    )
    way = places % 1
    # From the nearer of the two, as numpy.percentile does: exact at both.
    low, high = np.where(way < 0.5, below + (above - below) * way, above - (above - below) * (1 - way))
    return float(low), float(high)


def counted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the different ones of (N,) values and how often each occurs.

    Of more than 16 bits, where counting gains nothing, all of them and None.
    """
    if values.dtype.kind not in "iu" or values.dtype.itemsize > 2:
        return values, None
    low = int(values.min())
    counts = np.bincount(values.astype(np.intp) - low)
    present = np.flatnonzero(counts)
    return (present + low).astype(values.dtype), counts[present]


def value_range(values: np.ndarray) -> tuple[float, float]:
    """Return the lowest and the highest finite value; zeros where there are none."""
    finite = _finite(values)
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values
