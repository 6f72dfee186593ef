"""DICOM files in memory, for tests that read them."""

import io
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

JPEG_XL_LOSSLESS, JPEG_XL_RECOMPRESSION, JPEG_XL, DEFLATED_FRAMES = map(
    uid.UID,
    (
        "1.2.840.10008.1.2.4.110",
        "1.2.840.10008.1.2.4.111",
        "1.2.840.10008.1.2.4.112",
        "1.2.840.10008.1.2.8.1",
    ),
)
"""Newer than pydicom's table."""

_STAND_IN = {
    JPEG_XL_LOSSLESS: uid.HTJ2KLossless,
    JPEG_XL_RECOMPRESSION: uid.HTJ2KLossless,
    JPEG_XL: uid.HTJ2KLossless,
    DEFLATED_FRAMES: uid.JPEG2000Lossless,
}
LOSSLESS = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    JPEG_XL_LOSSLESS,
    DEFLATED_FRAMES,
]


def sequence_item(**elements: Any) -> Sequence:
    """Return a sequence of one item with these elements."""
    return Sequence([dataset_of(**elements)])


def dataset_of(**elements: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def image_dataset(
    stored: np.ndarray,
    *,
    sop_class: str = uid.DigitalXRayImageStorageForPresentation,
    photometric: str | None = None,
    bits: int | None = None,
    **elements: Any,
) -> Dataset:
    """Return a dataset of stored values, (H, W), (N, H, W) with NumberOfFrames given, or (H, W, 3).

    An element given as None is left out.
    """
    colour = stored.ndim == 3 and stored.shape[-1] == 3 and "NumberOfFrames" not in elements
    rows, columns = stored.shape[:2] if colour else stored.shape[-2:]
    dataset = dataset_of(
        SOPClassUID=sop_class,
        SOPInstanceUID="2.25.1",
        Rows=rows,
        Columns=columns,
        SamplesPerPixel=3 if colour else 1,
        PhotometricInterpretation=photometric or ("RGB" if colour else "MONOCHROME2"),
        BitsAllocated=8 * stored.dtype.itemsize,
        BitsStored=bits or 8 * stored.dtype.itemsize,
        HighBit=(bits or 8 * stored.dtype.itemsize) - 1,
        PixelRepresentation=int(stored.dtype.kind == "i"),
    )
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    if len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"
    dataset["PixelData"].VR = "OW" if stored.dtype.itemsize > 1 else "OB"
    for keyword, value in elements.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            del dataset[keyword]
    return dataset


def written(dataset: Dataset, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> bytes:
    """Return the file in an uncompressed syntax, or in a compressed one if its pixels already are."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "2.25.2")
    dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    if syntax == uid.ExplicitVRBigEndian and dataset.BitsAllocated == 16:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    file = io.BytesIO()
    # pydicom does not write a syntax that it does not know: another one of the same length stands in.
    known = _STAND_IN.get(syntax, syntax)
    dataset.file_meta.TransferSyntaxUID = known
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue().replace(_padded(known), _padded(syntax), 1)


def _padded(name: uid.UID) -> bytes:
    return name.encode() + b"\0" * (len(name) % 2)


def written_compressed(dataset: Dataset, syntax: uid.UID, codestreams: list[bytes]) -> bytes:
    """Return the file with these frames as its pixels."""
    dataset.PixelData = encapsulate(codestreams)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return written(dataset, syntax)


def lossless(dataset: Dataset, stored: np.ndarray, syntax: uid.UID) -> bytes:
    """Return the file in any lossless syntax; several frames where the dataset has NumberOfFrames."""
    frames = stored if "NumberOfFrames" in dataset else [stored]
    if syntax in _ENCODE:
        return written_compressed(dataset, syntax, [_ENCODE[syntax](frame) for frame in frames])
    if syntax.is_encapsulated:
        dataset.compress(syntax, stored, generate_instance_uid=False)
    return written(dataset, syntax)


def _deflated(frame: np.ndarray) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(frame.astype(frame.dtype.newbyteorder("<")).tobytes()) + deflater.flush()


def _unsigned(frame: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frame).view(f"u{frame.dtype.itemsize}")


_ENCODE = {
    uid.JPEGLossless: lambda frame: imagecodecs.ljpeg_encode(_unsigned(frame), bitspersample=16),
    uid.HTJ2KLossless: lambda frame: imagecodecs.htj2k_encode(frame, reversible=True),
    uid.HTJ2KLosslessRPCL: lambda frame: imagecodecs.htj2k_encode(frame, reversible=True),
    JPEG_XL_LOSSLESS: lambda frame: imagecodecs.jpegxl_encode(_unsigned(frame), lossless=True),
    DEFLATED_FRAMES: _deflated,
}
"""How one frame is encoded in the lossless syntaxes that pydicom does not write."""


def lookup_table(descriptor: list[int], entries: list[int], vr: str, big_endian: bool = False) -> Sequence:
    """Return a LUT sequence whose data is written as words (OW) or numbers (US)."""
    item = dataset_of(LUTDescriptor=descriptor)
    words = np.array(entries, ">u2" if big_endian else "<u2").tobytes()
    item.add_new("LUTData", vr, words if vr == "OW" else entries)
    return Sequence([item])


def without_preamble(file: bytes) -> bytes:
    """Return the data set alone, without preamble and file meta information."""
    meta_length = int.from_bytes(file[140:144], "little")
    return file[144 + meta_length :]


def deflated_zeros(dataset: Dataset, megabytes: int) -> bytes:
    """Return a deflated file whose data set is one element of so many zeros."""
    file = written(dataset, uid.DeflatedExplicitVRLittleEndian)
    meta_length = int.from_bytes(file[140:144], "little")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    element = b"\x09\x00\x10\x00UN\0\0" + (megabytes * 2**20).to_bytes(4, "little")
    start = deflater.compress(element) + deflater.flush(zlib.Z_FULL_FLUSH)
    # After a full flush a block stands by itself, so that one serves for all.
    block = deflater.compress(bytes(2**20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return file[: 144 + meta_length] + start + block * megabytes + deflater.flush()
