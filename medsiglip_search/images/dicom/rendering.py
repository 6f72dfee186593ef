"""What a dataset says about showing its stored values: rescale, windows and lookup tables."""

from typing import Literal

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset

from medsiglip_search.images.dicom.elements import functional_group, is_big_endian, numbers, text, value
from medsiglip_search.images.grey import GreyRendering
from medsiglip_search.images.lookup import LookupTable, lut_descriptor, read_entries
from medsiglip_search.windows import Window

_CT_CLASSES = (uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage)


def grey_rendering(dataset: Dataset, frame: int, invert: bool) -> GreyRendering:
    """Return how to show one frame: as its functional groups say, or else the dataset itself.

    invert: the photometric interpretation is MONOCHROME1. It alone decides on the polarity, as in most
        viewers: Presentation LUT Shape must be INVERSE with MONOCHROME1 and IDENTITY with MONOCHROME2 (PS3.3
        C.7.6.1), so it says the same once more, and where the two disagree it is known to be the wrong one.
    """
    transform = functional_group(dataset, frame, "PixelValueTransformationSequence")
    voi = functional_group(dataset, frame, "FrameVOILUTSequence")
    signed = value(dataset, "PixelRepresentation") == 1
    modality = _lookup_table(dataset, "ModalityLUTSequence", signed)
    scale = _rescale(transform)
    if scale is None or (modality is None and value(dataset, "ModalityLUTSequence")):
        return GreyRendering("unscaled", invert=invert, padding=_padding(dataset))
    slope, intercept = scale
    levels = _lookup_table(voi, "VOILUTSequence", signed or intercept < 0)
    view = _view(dataset, transform)
    return GreyRendering(
        view,
        slope,
        intercept,
        modality_table=modality[0] if modality else None,
        window=_window(voi),
        voi_levels=levels[0].as_levels(levels[1]) if levels else None,
        presentation_levels=_presentation_levels(dataset),
        invert=invert and view != "ct",
        padding=_padding(dataset),
    )


def _rescale(transform: Dataset) -> tuple[float, float] | None:
    """Return slope and intercept, None where they are damaged or would make all values the same."""
    found = []
    for keyword, absent in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        numbers_there = numbers(transform, keyword)
        if not numbers_there and text(transform, keyword):
            return None
        found.append(numbers_there[0] if numbers_there else absent)
    return None if found[0] == 0 else (found[0], found[1])


def _view(dataset: Dataset, transform: Dataset) -> Literal["ct", "percentiles", "window"]:
    modality = text(dataset, "Modality")
    if modality == "MR":
        return "percentiles"
    # Screen captures are not in HU, nor are maps that name another unit.
    unit = text(transform, "RescaleType")
    if modality == "CT" and text(dataset, "SOPClassUID") in _CT_CLASSES and unit in (None, "HU", "HU_MOD"):
        return "ct"
    return "window"


def _window(voi: Dataset) -> Window | None:
    """Return the first window, None where there is none or it shows nothing."""
    centers, widths = numbers(voi, "WindowCenter"), numbers(voi, "WindowWidth")
    if not centers or len(widths) < len(centers):
        return None
    center, width = centers[0], widths[0]
    curve = text(voi, "VOILUTFunction") or "LINEAR"
    if curve in ("SIGMOID", "LINEAR_EXACT"):
        if width <= 0:
            return None
        return Window(center - width / 2, center + width / 2, "sigmoid" if curve == "SIGMOID" else "linear")
    if width < 1:
        return None
    # PS3.3 C.11.2.1.2.1 takes half a value off the centre and one off the width.
    return Window(center - width / 2, center + width / 2 - 1)


def _presentation_levels(dataset: Dataset) -> LookupTable | None:
    """Return what a Presentation LUT makes of each of the 256 levels (PS3.3 C.11.6.1.1).

    It takes the place of the photometric interpretation (PS3.4 N.2.1.4).
    """
    found = _lookup_table(dataset, "PresentationLUTSequence", signed=False)
    if found is None:
        return None
    table, bits = found
    # Its inputs span the levels, however many they are.
    inputs = np.rint(np.linspace(0, len(table.entries) - 1, 256)).astype(np.int64)
    return LookupTable(0, table.as_levels(bits).entries[inputs])


def _lookup_table(dataset: Dataset, keyword: str, signed: bool) -> tuple[LookupTable, int] | None:
    """Return the first table of a LUT sequence and its output bits, None where none is whole."""
    items = value(dataset, keyword)
    if not items:
        return None
    try:
        count, first, bits = lut_descriptor(items[0].LUTDescriptor, signed)
        entries = read_entries(items[0]["LUTData"].value, count, is_big_endian(dataset))
    except Exception:  # pydicom raises anything on a damaged element; such a table counts as absent
        return None
    return LookupTable(first, entries), bits


def _padding(dataset: Dataset) -> tuple[float, float] | None:
    values = numbers(dataset, "PixelPaddingValue")
    if not values:
        return None
    limits = numbers(dataset, "PixelPaddingRangeLimit") or values
    ends = [_as_pixel(dataset, end) for end in (values[0], limits[0])]
    return min(ends), max(ends)


def _as_pixel(dataset: Dataset, number: float) -> int:
    """Return the number in the sign of the pixels; some writers give it in the other one."""
    span = 2 ** int(dataset.BitsAllocated)
    lowest = -span // 2 if value(dataset, "PixelRepresentation") == 1 else 0
    return (int(number) - lowest) % span + lowest
