"""Stored values of a grey DICOM frame to RGB, in the standard's order.

Modality LUT or rescale, then VOI LUT or window, then presentation LUT or polarity (PS3.3 C.11, PS3.4 N.2).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from medsiglip_search.images.levels import (
    PERCENTILE_SAMPLE,
    counted,
    grey_levels,
    percentile_range,
    value_range,
)
from medsiglip_search.images.lookup import LookupTable
from medsiglip_search.images.pixelwise import rgb_of
from medsiglip_search.windows import Window

WINDOW_FALLBACK = "window_fallback"

_STRIP_VALUES = 1 << 20


@dataclass(frozen=True, slots=True)
class GreyRendering:
    """What one frame's header says about its grey values.

    view: "ct" shows three windows and takes values as Hounsfield units, which polarity does not turn;
        "percentiles" fits the window to the values, for MR, whose values have no unit; "window" is the
        file's own, or a fitted one with the flag WINDOW_FALLBACK where it has none that shows anything;
        "unscaled" is always fitted, where the way to modality values is damaged.
    modality_table: stored values to modality values, in place of slope and intercept.
    voi_levels: modality values to uint8 levels, in place of `window`.
    presentation_levels: uint8 levels to uint8 levels, in place of `invert`.
    invert: the lowest value is white.
    padding: the first and last stored value that stand for no tissue; left out of fitted windows.
    """

    view: Literal["ct", "percentiles", "window", "unscaled"]
    slope: float = 1.0
    intercept: float = 0.0
    modality_table: LookupTable | None = None
    window: Window | None = None
    voi_levels: LookupTable | None = None
    presentation_levels: LookupTable | None = None
    invert: bool = False
    padding: tuple[float, float] | None = None


def modality_values(stored: np.ndarray, rendering: GreyRendering) -> np.ndarray:
    """Return the values in modality units, HU for CT, in the shape of `stored`."""
    if rendering.modality_table is not None:
        return rendering.modality_table.apply(stored)
    if rendering.slope == 1 and rendering.intercept == 0:
        return stored
    values: npt.NDArray[np.floating] = stored.astype(np.float64 if stored.dtype.itemsize > 2 else np.float32)
    values *= rendering.slope
    values += rendering.intercept
    return values


def render_ct_windows(stored: np.ndarray, rendering: GreyRendering, windows: Sequence[Window]) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB of (H, W) stored values, one of three windows in each channel."""

    def levels(part: np.ndarray) -> list[np.ndarray]:
        hu = modality_values(part, rendering)
        return [grey_levels(hu, window) for window in windows]

    return rgb_of(stored, levels)


def render_window(stored: np.ndarray, rendering: GreyRendering, window: Window) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB, three equal channels, of (H, W) stored values."""
    return rgb_of(
        stored, lambda part: [_presented(grey_levels(modality_values(part, rendering), window), rendering)]
    )


def render_own(stored: np.ndarray, rendering: GreyRendering) -> np.ndarray | None:
    """Return (H, W, 3) uint8 RGB as the file's own window or table shows it, None if it has neither."""
    table = rendering.voi_levels
    if table is not None:
        return rgb_of(
            stored, lambda part: [_presented(table.apply(modality_values(part, rendering)), rendering)]
        )
    return render_window(stored, rendering, rendering.window) if rendering.window else None


def fitted_window(
    frames: Sequence[tuple[np.ndarray, GreyRendering]], percentiles: tuple[float, float]
) -> Window:
    """Return the window from one percentile to another of the modality values of all frames together.

    frames: (H, W) stored values each, with how they are shown. Where both percentiles are the same value
    the whole range is taken.
    """
    tissue = [(_without_padding(stored, rendering.padding), rendering) for stored, rendering in frames]
    step = max(1, sum(stored.size for stored, _ in tissue) // PERCENTILE_SAMPLE)
    parts = [(counted(stored[::step]), rendering) for stored, rendering in tissue]
    values = np.concatenate([modality_values(stored, rendering) for (stored, _), rendering in parts])
    counts = [numbers for (_, numbers), _ in parts if numbers is not None]
    low, high = percentile_range(
        values, percentiles, np.concatenate(counts) if len(counts) == len(parts) else None
    )
    if low == high:
        ranges = [value_range(values) for values in _in_strips(tissue)]
        low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    return Window(low, high)


def is_flat(pixels: np.ndarray) -> bool:
    """Tell whether all pixels of (H, W, 3) have the same colour."""
    strip = 64
    for top in range(0, len(pixels), strip):
        samples = pixels[top : top + strip].reshape(-1)
        if (pixels[top, 0] != pixels[0, 0]).any() or not np.array_equal(samples[3:], samples[:-3]):
            return False
    return True


def _presented(levels: np.ndarray, rendering: GreyRendering) -> np.ndarray:
    if rendering.presentation_levels is not None:
        return rendering.presentation_levels.apply(levels)
    return 255 - levels if rendering.invert else levels


def _in_strips(frames: Sequence[tuple[np.ndarray, GreyRendering]]) -> Iterator[np.ndarray]:
    for stored, rendering in frames:
        for start in range(0, stored.size, _STRIP_VALUES):
            yield modality_values(stored[start : start + _STRIP_VALUES], rendering)


def _without_padding(stored: np.ndarray, padding: tuple[float, float] | None) -> np.ndarray:
    """Return the (N,) stored values that are tissue, all where none is."""
    flat = stored.reshape(-1)
    if padding is None:
        return flat
    tissue = flat[(flat < padding[0]) | (flat > padding[1])]
    return tissue if tissue.size else flat
