"""What a file is, from its first bytes; its name plays no part."""

import struct
from typing import Literal

SNIFF_BYTES = 1024

RasterKind = Literal["png", "jpeg", "gif", "tiff", "webp", "bmp"]

_SIGNATURES: dict[bytes, RasterKind] = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    # BigTIFF
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
}
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_FIRST_GROUPS = (0x0002, 0x0008)
# PS3.5 table 6.2-1
_VALUE_REPRESENTATIONS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW".split()
    + b"PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)


def sniff(head: bytes) -> Literal["dicom"] | RasterKind | None:
    """Return what `head`, the first SNIFF_BYTES of a file, begins; None for anything else.

    DICOM comes first: a dual-personality file is also a TIFF in its preamble (PS3.10 7.1).
    """
    if head[128:132] == b"DICM":
        return "dicom"
    return _raster_kind(head) or ("dicom" if _starts_with_element(head) else None)


def is_packed(head: bytes) -> bool:
    """Tell whether `head` begins a zip, a tar or a compressed file."""
    return head.startswith((b"PK\3\4", b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0")) or head[257:262] == b"ustar"


def _raster_kind(head: bytes) -> RasterKind | None:
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if head.startswith(b"RIFF"):
        return "webp" if head[8:12] == b"WEBP" else None
    is_bmp = head.startswith(b"BM") and len(head) > 18 and head[14] in _BMP_HEADER_SIZES
    return "bmp" if is_bmp and not any(head[15:18]) else None


def _starts_with_element(head: bytes) -> bool:
    """Tell whether `head` begins with a DICOM data element, as files without a preamble do."""
    if len(head) < 16:
        return False
    for order in "<>":
        group, element = struct.unpack_from(f"{order}HH", head)
        if group in _FIRST_GROUPS and head[4:6] in _VALUE_REPRESENTATIONS:
            return True
        # Implicit VR is little endian only, and has nothing but its tags to be known by.
        if order == "<" and group in _FIRST_GROUPS:
            (length,) = struct.unpack_from("<L", head, 4)
            if length % 2 == 0 and length + 12 <= len(head):
                next_group, next_element = struct.unpack_from("<HH", head, 8 + length)
                return next_group in _FIRST_GROUPS and (next_group, next_element) > (group, element)
    return False
