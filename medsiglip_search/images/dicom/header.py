"""The header of a DICOM file: read within bounds, and refused where no picture can follow."""

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from pydicom import dcmread, uid
from pydicom.datadict import dictionary_has_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.pixels.utils import as_pixel_options
from pydicom.tag import BaseTag

from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images.dicom.codecs import COMPRESSED, JPEG_XL
from medsiglip_search.images.dicom.elements import text, texts, value
from medsiglip_search.images.limits import MAX_INFLATED_BYTES, check_frame
from medsiglip_search.images.source import inflate, stream_size

_PIXEL_KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_REQUIRED = ("rows", "columns", "samples_per_pixel", "bits_allocated", "photometric_interpretation")
_DEFERRED_BYTES = 64 * 2**20

_UNCOMPRESSED = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)

# Stored with pixel data, but their pixels are doses, labels or parameters.
_NOT_PICTURES = (
    uid.RTDoseStorage,
    uid.SegmentationStorage,
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation, newer than pydicom's table
    uid.ParametricMapStorage,
    uid.MediaStorageDirectoryStorage,
)


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixel data lies in the stream. length: None where undefined, as of compressed data."""

    keyword: str
    vr: str | None
    offset: int
    length: int | None


def read_header(stream: BinaryIO) -> tuple[Dataset, BinaryIO]:
    """Return the elements before the pixel data, and the stream that stands at it.

    The stream is another one for a deflated file, whose content is inflated within MAX_INFLATED_BYTES.
    """
    read_preamble(stream, force=True)
    meta = read_dataset(stream, False, True, stop_when=_is_after_meta)
    if text(meta, "TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
        # pydicom would inflate the whole, however large it becomes.
        body = inflate(stream, MAX_INFLATED_BYTES)
        dataset = read_dataset(body, False, True, stop_when=_is_pixel_data)
        dataset.file_meta = FileMetaDataset(meta)
        return dataset, body
    stream.seek(0)
    return dcmread(stream, force=True, stop_before_pixels=True, defer_size=_DEFERRED_BYTES), stream


def find_pixels(dataset: Dataset, stream: BinaryIO) -> PixelElement:
    """Return the element that the stream stands at; raises Unreadable for what is no picture."""
    if text(dataset, "SOPClassUID") in _NOT_PICTURES or "DirectoryRecordSequence" in dataset:
        raise Unreadable(Reason.NON_IMAGE_DICOM, "This DICOM object is no picture.")
    element = _pixel_element(stream)
    if element is None and not any(tag.group > 2 and dictionary_has_tag(tag) for tag, _ in dataset.items()):
        raise Unreadable(Reason.MALFORMED, "It begins as DICOM, but no DICOM elements follow.")
    if element is None and _ends_within(dataset, stream_size(stream)):
        raise Unreadable(Reason.TRUNCATED, "It ends within its header. Copy it again from its source.")
    if element is None:
        raise Unreadable(Reason.NON_IMAGE_DICOM, "This DICOM object holds no pixel data.")
    words = {word.upper() for word in texts(dataset, "ImageType")}
    slide = text(dataset, "SOPClassUID") == uid.VLWholeSlideMicroscopyImageStorage
    if "LOCALIZER" in words or (slide and words & {"LABEL", "OVERVIEW"}):
        raise Unreadable(Reason.LABEL_OR_LOCALIZER, "This is a localizer, or the label of a slide.")
    return element


def transfer_syntax(dataset: Dataset, element: PixelElement) -> uid.UID:
    """Return how the pixels are encoded; raises Unreadable where no decoder exists or the two disagree."""
    stated = text(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID")
    if stated:
        syntax = uid.UID(stated)
    elif element.length is None:
        raise Unreadable(Reason.UNSUPPORTED_CODEC, "It does not say how its pixels are compressed.")
    else:
        implicit, little_endian = dataset.original_encoding
        explicit = uid.ExplicitVRLittleEndian if little_endian else uid.ExplicitVRBigEndian
        syntax = uid.ImplicitVRLittleEndian if implicit else explicit
    if syntax not in _UNCOMPRESSED and syntax not in COMPRESSED:
        raise Unreadable(
            Reason.UNSUPPORTED_CODEC, "Its transfer syntax has no decoder. Export it in another one."
        )
    if (element.length is None) != (syntax in COMPRESSED):
        raise Unreadable(Reason.MALFORMED, "Its transfer syntax does not fit its pixels. Export it again.")
    return syntax


def pixel_options(dataset: Dataset, element: PixelElement) -> dict[str, Any]:
    """Return pydicom's decoding options, and unused_low_bits: how many of a sample lie below its stored ones.

    Raises Unreadable if a frame asks for too much memory.
    """
    options = as_pixel_options(dataset)
    if any(not options.get(name) for name in _REQUIRED):
        raise Unreadable(Reason.MALFORMED, "It has pixels, but does not say of what size or kind.")
    options["pixel_keyword"] = element.keyword
    options["pixel_vr"] = element.vr
    options.setdefault("planar_configuration", 0)
    options.setdefault("bits_stored", options.get("bits_allocated"))
    options["unused_low_bits"] = _unused_low_bits(value(dataset, "HighBit"), options)
    bits_per_pixel = int(options["samples_per_pixel"]) * int(options["bits_allocated"])
    check_frame(int(options["rows"]), int(options["columns"]), bits_per_pixel)
    if int(options["number_of_frames"]) < 1:
        raise Unreadable(Reason.MALFORMED, "It says that it holds no frame.")
    return options


def check_colours(syntax: uid.UID, options: dict[str, Any]) -> None:
    """Raise Unreadable for luminance and chroma in a form that nothing here converts to RGB."""
    photometric = str(options["photometric_interpretation"])
    retired = photometric.startswith("YBR_PARTIAL") and syntax in _UNCOMPRESSED
    # JPEG XL is RGB once decoded, whatever it is made of.
    deep = photometric.startswith("YBR_FULL") and options["bits_allocated"] > 8 and syntax not in JPEG_XL
    if retired or deep:
        raise Unreadable(Reason.UNSUPPORTED_CODEC, "Its colour space is not supported. Export it as RGB.")


def _unused_low_bits(high_bit: object, options: dict[str, Any]) -> int:
    """Return how far the highest stored bit is above its only place today (PS3.5 8.1.1), as in old files.

    0 for a highest bit that cannot be.
    """
    allocated, stored = options["bits_allocated"], options["bits_stored"]
    if not isinstance(high_bit, int) or not isinstance(stored, int) or high_bit >= allocated:
        return 0
    return max(0, high_bit + 1 - stored)


def _is_after_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag >> 16 != 2


def _is_pixel_data(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag in _PIXEL_KEYWORDS


def _pixel_element(stream: BinaryIO) -> PixelElement | None:
    """Return what the stream stands at; None at the end of the file."""
    start = stream.tell()
    head = stream.read(12)
    if len(head) < 8:
        return None
    order = "<" if head[0] == 0xE0 else ">"
    group, number = struct.unpack_from(f"{order}HH", head)
    keyword = _PIXEL_KEYWORDS.get(group << 16 | number)
    if keyword is None:
        return None
    # Read from the bytes, not from the transfer syntax: some files switch between the two encodings.
    explicit = head[4:6] in (b"OB", b"OW", b"OF", b"OD", b"UN")
    length_at = 8 if explicit else 4
    (length,) = struct.unpack_from(f"{order}L", head, length_at)
    return PixelElement(
        keyword,
        head[4:6].decode() if explicit else None,
        start + length_at + 4,
        None if length == _UNDEFINED_LENGTH else length,
    )


def _ends_within(dataset: Dataset, end: int) -> bool:
    """Tell whether the file ends, at offset `end`, within its last element or the start of another."""
    if not len(dataset):
        return False
    # Not dataset[...], which would read what was left in the file for its size.
    _, last = max(dataset.items(), key=lambda item: item[0])
    if not isinstance(last, RawDataElement) or last.length == _UNDEFINED_LENGTH:
        return False
    return last.value_tell + last.length != end
