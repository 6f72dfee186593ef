"""Which values are shown as black and which as white: windows, their names, and a gallery's choice."""

import math
from dataclasses import dataclass
from typing import Literal

from medsiglip_search.errors import InvalidQuery


@dataclass(frozen=True, slots=True)
class Window:
    """The values shown as black (`low`) and white (`high`), in modality units (HU for CT).

    curve: "sigmoid" is the sigmoid of PS3.3 C.11.2.1.3.1, which has its centre between the two and its
        width from one to the other.
    """

    low: float
    high: float
    curve: Literal["linear", "sigmoid"] = "linear"

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


# HU. The first three are width/level 2250/-100, 350/40 and 80/40, which MedSigLIP was trained on
# (arXiv 2507.05201, 2.1.2); the others are those that radiologists switch between.
CT_WINDOWS = {
    "wide": Window(-1225, 1025),
    "soft_tissue": Window(-135, 215),
    "brain": Window(0, 80),
    "lung": Window(-1350, 150),
    "bone": Window(-500, 1300),
    "abdomen": Window(-140, 260),
    "liver": Window(-45, 105),
    "mediastinum": Window(-125, 225),
    "angio": Window(0, 600),
    "stroke": Window(20, 60),
    "subdural": Window(-50, 150),
}


@dataclass(frozen=True, slots=True)
class RenderSpec:
    """How the values of grey pictures become RGB, as far as that is not the file's own business.

    ct: the windows that CT shows in red, green and blue, in HU; three times the same for a grey picture.
    percentiles: of the values, shown as black and as white where the modality has no unit (MR) and where a
        file has no usable window.
    """

    ct: tuple[Window, Window, Window] = (CT_WINDOWS["wide"], CT_WINDOWS["soft_tissue"], CT_WINDOWS["brain"])
    percentiles: tuple[float, float] = (0.5, 99.5)

    def __str__(self) -> str:
        return f"CT from {', '.join(dict.fromkeys(map(str, self.ct)))} HU"


@dataclass(frozen=True, slots=True)
class ValueRange:
    """The lowest and the highest value of a picture, in modality units.

    unit: "HU" of CT; None of what has no unit that all files share. window: the file's own, or one that fits.
    """

    low: float
    high: float
    unit: Literal["HU"] | None
    window: Window


def parse_window(text: str) -> Window:
    """Return the window of a name of CT_WINDOWS, or of "CENTRE,WIDTH" in modality units.

    Raises InvalidQuery.
    """
    if text.lower() in CT_WINDOWS:
        return CT_WINDOWS[text.lower()]
    try:
        center, width = map(float, text.split(","))
    except ValueError:
        center = width = math.nan
    if not (math.isfinite(center) and math.isfinite(width) and width > 0):
        names = ", ".join(CT_WINDOWS)
        raise InvalidQuery(f"{text!r}: no window; give CENTRE,WIDTH with a width above 0, or one of {names}")
    return Window(center - width / 2, center + width / 2)
