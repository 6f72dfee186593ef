"""What a dataset says about showing its stored values: rescale, windows, lookup tables, palettes."""

from typing import Any, Literal

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from medsiglip_search.images.dicom.elements import functional_group, is_big_endian, numbers, text, value
from medsiglip_search.images.grey import GreyRendering
from medsiglip_search.images.lookup import LookupTable, read_entries
from medsiglip_search.windows import Window

_CT_CLASSES = (uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage)
_COLOURS = ("Red", "Green", "Blue")


def grey_rendering(dataset: Dataset, frame: int, invert: bool) -> GreyRendering:
    """Return how to show one frame: as its functional groups say, or else the dataset itself."""
    transform = functional_group(dataset, frame, "PixelValueTransformationSequence")
    voi = functional_group(dataset, frame, "FrameVOILUTSequence")
    slope = next(iter(numbers(transform, "RescaleSlope")), 1.0)
    intercept = next(iter(numbers(transform, "RescaleIntercept")), 0.0)
    if slope == 0:  # every value would become the same
        return GreyRendering("window", invert=invert, padding=_padding(dataset))
    signed = value(dataset, "PixelRepresentation") == 1
    modality = _lookup_table(dataset, "ModalityLUTSequence", signed)
    levels = _lookup_table(voi, "VOILUTSequence", signed or intercept < 0)
    return GreyRendering(
        _view(dataset, transform),
        slope,
        intercept,
        modality_table=modality[0] if modality else None,
        window=_window(voi),
        voi_levels=levels[0].as_levels(levels[1]) if levels else None,
        invert=invert,
        padding=_padding(dataset),
    )


def palette(dataset: Dataset) -> list[LookupTable]:
    """Return the red, green and blue table, with uint8 entries; raises what pydicom raises."""
    signed = value(dataset, "PixelRepresentation") == 1
    count, first, _ = _lut_descriptor(dataset.RedPaletteColorLookupTableDescriptor, signed)
    if "RedPaletteColorLookupTableData" in dataset:
        data = [dataset[f"{colour}PaletteColorLookupTableData"].value for colour in _COLOURS]
        tables = [read_entries(entries, count, is_big_endian(dataset)) for entries in data]
    else:
        # Looking up every input once expands a segmented table.
        expanded = apply_color_lut(np.arange(first, first + count, dtype=np.int32), dataset)
        tables = [expanded[:, channel] for channel in range(3)]
    # 16-bit entries span the whole range (PS3.3 C.7.6.3.1.6), but some writers leave the high byte empty.
    spread = max(int(table.max()) for table in tables) > 255
    return [LookupTable(first, (table >> 8 if spread else table).astype(np.uint8)) for table in tables]


def _view(dataset: Dataset, transform: Dataset) -> Literal["ct", "percentiles", "window"]:
    modality = text(dataset, "Modality")
    if modality == "MR":
        return "percentiles"
    # Screen captures are not in HU, nor are maps that name another unit.
    unit = text(transform, "RescaleType")
    if modality == "CT" and value(dataset, "SOPClassUID") in _CT_CLASSES and unit in (None, "HU", "HU_MOD"):
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


def _lookup_table(dataset: Dataset, keyword: str, signed: bool) -> tuple[LookupTable, int] | None:
    """Return the first table of a LUT sequence and its output bits, None where none is whole."""
    items = value(dataset, keyword)
    if not items:
        return None
    try:
        count, first, bits = _lut_descriptor(items[0].LUTDescriptor, signed)
        entries = read_entries(items[0]["LUTData"].value, count, is_big_endian(dataset))
    except Exception:  # pydicom raises anything on a damaged element; such a table counts as absent
        return None
    return LookupTable(first, entries), bits


def _lut_descriptor(descriptor: Any, signed: bool) -> tuple[int, int, int]:
    """Return the number of entries, the first input and the output bits (PS3.3 C.11.1.1.1)."""
    count, first, bits = (int(number) & 0xFFFF for number in descriptor)
    # The first input is signed where the values are, whatever the element's own type.
    return count or 2**16, first - 2**16 if signed and first >= 2**15 else first, bits


def _padding(dataset: Dataset) -> tuple[float, float] | None:
    values = numbers(dataset, "PixelPaddingValue")
    if not values:
        return None
    limits = numbers(dataset, "PixelPaddingRangeLimit") or values
    return min(values[0], limits[0]), max(values[0], limits[0])
