"""The colours of PALETTE COLOR images."""

import numpy as np
from pydicom.dataset import Dataset

from medsiglip_search.images.dicom.elements import is_big_endian, value
from medsiglip_search.images.lookup import LookupTable, lut_descriptor, read_entries, read_segments

_COLOURS = ("Red", "Green", "Blue")


def palette(dataset: Dataset) -> list[LookupTable]:
    """Return the red, green and blue table, with uint8 entries; raises what pydicom raises."""
    signed = value(dataset, "PixelRepresentation") == 1
    count, first, bits = lut_descriptor(dataset.RedPaletteColorLookupTableDescriptor, signed)
    big_endian = is_big_endian(dataset)
    if "RedPaletteColorLookupTableData" in dataset:
        data = [dataset[f"{colour}PaletteColorLookupTableData"].value for colour in _COLOURS]
        tables = [read_entries(entries, count, big_endian) for entries in data]
    else:
        data = [dataset[f"Segmented{colour}PaletteColorLookupTableData"].value for colour in _COLOURS]
        tables = [read_segments(segments, count, bits, big_endian) for segments in data]
    # 16-bit entries span the whole range (PS3.3 C.7.6.3.1.6), but some writers leave the high byte empty.
    spread = max(int(table.max()) for table in tables) > 255
    return [LookupTable(first, (table >> 8 if spread else table).astype(np.uint8)) for table in tables]
