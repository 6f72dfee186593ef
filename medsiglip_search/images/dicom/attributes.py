"""What is worth searching by, and what to be warned of; nothing else of the header travels on."""

from pydicom import uid
from pydicom.dataset import Dataset

from medsiglip_search.images.dicom.elements import functional_group, text
from medsiglip_search.records import Attributes

BURNED_IN_SUSPECTED = "burned_in_suspected"

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


def attributes(dataset: Dataset) -> Attributes:
    """Return the dataset's attributes, with its own identifiers."""
    anatomy = functional_group(dataset, 0, "FrameAnatomySequence")
    sides = (text(dataset, "ImageLaterality"), text(dataset, "Laterality"), text(anatomy, "FrameLaterality"))
    return Attributes(
        modality=text(dataset, "Modality"),
        body_part=text(dataset, "BodyPartExamined"),
        laterality=next(filter(None, sides), None),
        view_position=text(dataset, "ViewPosition"),
        manufacturer=text(dataset, "Manufacturer"),
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
        or text(dataset, "Modality") == "US"
        or text(dataset, "SOPClassUID") in _USUALLY_BURNED_IN
    )
    return (BURNED_IN_SUSPECTED,) if suspected else ()


def _year(date: str | None) -> int | None:
    """Return the year of a DICOM date, YYYYMMDD, or of the retired YYYY.MM.DD."""
    return int(date[:4]) if date and len(date) >= 8 and date[:4].isdecimal() else None
