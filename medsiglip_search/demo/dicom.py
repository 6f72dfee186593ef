"""The synthetic pictures as DICOM: several transfer syntaxes, both grey-scale directions, multi-frame."""

import io
from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from medsiglip_search.demo.cases import CHEST_WINDOW, Study
from medsiglip_search.demo.drawing.canvas import Rng
from medsiglip_search.demo.findings import BODY_PARTS

_SYNTAXES: tuple[UID, ...] = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    JPEG2000Lossless,
    JPEGLSLossless,
)
_UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_BITS_12 = 4095


def encode_radiograph(rng: Rng, study: Study, number: int, values: np.ndarray) -> bytes:
    """Return a DICOM file of (rows, columns) uint16 values of 12 bits, where bone is high."""
    ds = _new(study, number, ComputedRadiographyImageStorage)
    ds.BodyPartExamined = BODY_PARTS["CR"]
    ds.ViewPosition = "PA"
    width = int(CHEST_WINDOW.high - CHEST_WINDOW.low) + 1
    ds.WindowCenter, ds.WindowWidth = width // 2, width
    if rng.random() < 0.4:
        ds.PhotometricInterpretation = "MONOCHROME1"
        values = (_BITS_12 - values).astype(np.uint16)
    _set_pixels(ds, values, bits=12)
    return _write(ds, _SYNTAXES[rng.integers(len(_SYNTAXES))])


def encode_ct_slice(rng: Rng, study: Study, number: int, hu: np.ndarray) -> bytes:
    """Return a DICOM file of one (rows, columns) int16 slice in HU, signed or with an offset."""
    ds = _new(study, number, CTImageStorage)
    ds.BodyPartExamined = BODY_PARTS["CT"]
    ds.ImagePositionPatient = [-120, -120, 5.0 * number]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.WindowCenter, ds.WindowWidth = 40, 80
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    if rng.random() < 0.5:
        ds.RescaleIntercept = -1024
        hu = (hu + 1024).astype(np.uint16)
    _set_pixels(ds, hu, bits=16)
    return _write(ds, _SYNTAXES[rng.integers(len(_SYNTAXES))])


def encode_ct_volume(rng: Rng, study: Study, slices: Sequence[np.ndarray]) -> bytes:
    """Return one enhanced multi-frame DICOM file of (rows, columns) int16 slices in HU.

    Its rescale and window are in the functional groups (PS3.3 C.7.6.16), where the readers of single
    frames do not look.
    """
    ds = _new(study, 1, EnhancedCTImageStorage)
    ds.BodyPartExamined = BODY_PARTS["CT"]
    ds.NumberOfFrames = len(slices)
    transform = Dataset()
    transform.RescaleIntercept, transform.RescaleSlope, transform.RescaleType = -1024, 1, "HU"
    window = Dataset()
    window.WindowCenter, window.WindowWidth = 40, 80
    orientation = Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared = Dataset()
    shared.PlaneOrientationSequence = Items([orientation])
    shared.PixelValueTransformationSequence = Items([transform])
    shared.FrameVOILUTSequence = Items([window])
    ds.SharedFunctionalGroupsSequence = Items([shared])
    ds.PerFrameFunctionalGroupsSequence = Items([_frame_group(number) for number in range(len(slices))])
    _set_pixels(ds, (np.stack(slices) + 1024).astype(np.uint16), bits=16)
    return _write(ds, _SYNTAXES[rng.integers(len(_SYNTAXES))])


def encode_report(study: Study) -> bytes:
    """Return a structured report: DICOM without a picture."""
    ds = _new(study, 901, BasicTextSRStorage)
    ds.Modality = "SR"
    ds.ValueType = "CONTAINER"
    return _write(ds, ExplicitVRLittleEndian)


def _frame_group(number: int) -> Dataset:
    position = Dataset()
    position.ImagePositionPatient = [-120, -120, 5.0 * number]
    group = Dataset()
    group.PlanePositionSequence = Items([position])
    return group


def _new(study: Study, number: int, sop_class: UID) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = _uid("instance", study, number)
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = _uid("study", study)
    ds.SeriesInstanceUID = _uid("series", study)
    ds.PatientID = f"P{study.patient:04d}"
    ds.PatientName = f"Synthetic^Patient {study.patient}"
    ds.StudyID = f"S{study.study:04d}"
    ds.StudyDate = f"{2015 + study.seed % 10}{1 + study.seed % 12:02d}{1 + study.seed % 28:02d}"
    ds.StudyTime = "120000"
    ds.AccessionNumber = ""
    ds.Manufacturer = "Synthetic"
    ds.Modality = study.modality.code
    ds.InstanceNumber = number
    return ds


def _set_pixels(ds: Dataset, values: np.ndarray, bits: int) -> None:
    ds.Rows, ds.Columns = values.shape[-2:]
    ds.SamplesPerPixel = 1
    if "PhotometricInterpretation" not in ds:
        ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.PixelRepresentation = int(values.dtype.kind == "i")
    ds.PixelData = values.astype(values.dtype.newbyteorder("<")).tobytes()


def _write(ds: FileDataset, syntax: UID) -> bytes:
    if syntax in _UNCOMPRESSED:
        ds.file_meta.TransferSyntaxUID = syntax
    else:
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.compress(syntax, generate_instance_uid=False)
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _uid(kind: str, study: Study, number: int = 0) -> UID:
    parts = [
        kind,
        str(study.anatomy_seed),
        str(study.seed),
        str(study.patient),
        str(study.study),
        str(number),
    ]
    return generate_uid(entropy_srcs=parts)
