"""What is worth searching by, and what to be warned of; nothing else of the header travels on."""

import re

from pydicom import uid
from pydicom.dataset import Dataset

from medsiglip_search.images.dicom.elements import functional_group, text, texts
from medsiglip_search.records import Attributes

BURNED_IN_SUSPECTED = "burned_in_suspected"

# With the hyphen and the slash, which the standard has not and "C-SPINE" and "AP/LAT" are written with.
_CODED_STRING = re.compile("[A-Z0-9_ /-]{1,16}")
_LONGEST_LINE = 64

_USUALLY_BURNED_IN = (
    uid.UltrasoundImageStorage,
    uid.UltrasoundMultiFrameImageStorage,
    uid.EnhancedUSVolumeStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
)
_ULTRASOUND = ("US", "IVUS", "BDUS")


def attributes(dataset: Dataset) -> Attributes:
    """Return the dataset's attributes, with its own identifiers.

    Codes are in upper case. An element that holds something else than its kind of value counts as absent:
    free text may name a patient.
    """
    anatomy = functional_group(dataset, 0, "FrameAnatomySequence")
    sides = (
        _code(dataset, "ImageLaterality"),
        _code(dataset, "Laterality"),
        _code(anatomy, "FrameLaterality"),
    )
    return Attributes(
        modality=_code(dataset, "Modality"),
        body_part=_code(dataset, "BodyPartExamined"),
        laterality=next(filter(None, sides), None),
        view_position=_code(dataset, "ViewPosition"),
        manufacturer=_line(dataset, "Manufacturer"),
        year=_year(text(dataset, "StudyDate")),
        patient=text(dataset, "PatientID"),
        study=text(dataset, "StudyInstanceUID"),
        series=text(dataset, "SeriesInstanceUID"),
        instance=text(dataset, "SOPInstanceUID"),
    )


def flags(dataset: Dataset) -> tuple[str, ...]:
    """Return BURNED_IN_SUSPECTED where the pixels may spell out a patient's identity."""
    suspected = (
        text(dataset, "BurnedInAnnotation") == "YES"
        or text(dataset, "SpecimenLabelInImage") == "YES"
        or any("SCREEN SAVE" in word.upper() for word in texts(dataset, "ImageType"))
        or _code(dataset, "Modality") in _ULTRASOUND
        or text(dataset, "SOPClassUID") in _USUALLY_BURNED_IN
    )
    return (BURNED_IN_SUSPECTED,) if suspected else ()


def _code(dataset: Dataset, keyword: str) -> str | None:
    """Return a coded string (CS, PS3.5 6.2), many of which are written in lower case; None for any other."""
    found = (text(dataset, keyword) or "").upper()
    return found if _CODED_STRING.fullmatch(found) else None


def _line(dataset: Dataset, keyword: str) -> str | None:
    """Return a long string (LO, PS3.5 6.2), None for one that is too long or built like a person's name."""
    found = text(dataset, keyword)
    fits = found and len(found) <= _LONGEST_LINE and found.isprintable() and "^" not in found
    return found if fits else None


def _year(date: str | None) -> int | None:
    """Return the year of a DICOM date, YYYYMMDD, or of the retired YYYY.MM.DD."""
    return int(date[:4]) if date and len(date) >= 8 and date[:4].isdecimal() else None
