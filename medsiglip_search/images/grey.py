"""Stored values of a grey DICOM frame to RGB, in the standard's order.

Modality LUT or rescale, then VOI LUT or window, then the polarity (PS3.3 C.11, PS3.4 N.2).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from medsiglip_search.images.levels import percentile_window, render_ct, render_grey
from medsiglip_search.images.lookup import LookupTable
from medsiglip_search.windows import Window

WINDOW_FALLBACK = "window_fallback"


@dataclass(frozen=True, slots=True)
class GreyRendering:
    """What one frame's header says about its grey values.

    view: "ct" shows CT_WINDOWS and takes values as Hounsfield units; "percentiles" fits the window to the
        frame, for MR, whose values have no unit; "window" is the file's own, or a fitted one with the
        flag WINDOW_FALLBACK where it has none that shows anything.
    modality_table: stored values to modality values, in place of slope and intercept.
    voi_levels: modality values to uint8 levels, in place of `window`.
    invert: MONOCHROME1.
    padding: the first and last stored value that stand for no tissue; left out of fitted windows.
    """

    view: Literal["ct", "percentiles", "window"]
    slope: float = 1.0
    intercept: float = 0.0
    modality_table: LookupTable | None = None
    window: Window | None = None
    voi_levels: LookupTable | None = None
    invert: bool = False
    padding: tuple[float, float] | None = None


def render_stored(stored: np.ndarray, rendering: GreyRendering) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return (H, W, 3) uint8 RGB of (H, W) stored values, and the flags of what was assumed."""
    # A damaged header may ask for values beyond what floats hold; they end as black or white.
    with np.errstate(all="ignore"):
        values = modality_values(stored, rendering)
        if rendering.view == "ct":
            return render_ct(values), ()
        if rendering.view == "window":
            pixels = _through_own_window(values, rendering)
            if pixels is not None and not is_flat(pixels):
                return pixels, ()
        fitted = percentile_window(_without_padding(values, stored, rendering.padding))
        flags = (WINDOW_FALLBACK,) if rendering.view == "window" else ()
        return render_grey(values, fitted, rendering.invert), flags


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


def is_flat(pixels: np.ndarray) -> bool:
    """Tell whether all pixels of (H, W, 3) have the same colour."""
    strip = 64
    return all((pixels[top : top + strip] == pixels[0, 0]).all() for top in range(0, len(pixels), strip))


def _through_own_window(values: np.ndarray, rendering: GreyRendering) -> np.ndarray | None:
    if rendering.voi_levels is not None:
        levels = rendering.voi_levels.apply(values)
        return render_grey(levels, Window(0, 255), rendering.invert)
    if rendering.window is not None:
        return render_grey(values, rendering.window, rendering.invert)
    return None


def _without_padding(
    values: np.ndarray, stored: np.ndarray, padding: tuple[float, float] | None
) -> np.ndarray:
    if padding is None:
        return values
    tissue = values[(stored < padding[0]) | (stored > padding[1])]
    return tissue if tissue.size else values
