"""DICOM files that are damaged, lie, or are put together in ways that no library writes."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from dicom_files import (
    dataset_of,
    image_dataset,
    lossless,
    written,
    written_compressed,
)
from hostile_case import PATIENT, Shown
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

RAMP = np.arange(0, 4096, 4, dtype=np.uint16).reshape(32, 32)
LEVELS = np.repeat((RAMP * (255 / 4095) + 0.5).astype(np.uint8)[..., np.newaxis], 3, axis=-1)
"""RAMP through its window: what every file that still holds it must become."""
WINDOW = {"WindowCenter": "2048", "WindowWidth": "4096"}
TWO = np.stack([RAMP, RAMP[::-1]])
COMPRESSED = {
    "rle": uid.RLELossless,
    "jpeg_ls": uid.JPEGLSLossless,
    "jpeg_lossless": uid.JPEGLossless,
    "jpeg_2000": uid.JPEG2000Lossless,
    "htj2k": uid.HTJ2KLossless,
}
SYNTAXES = {"native": uid.ExplicitVRLittleEndian, **COMPRESSED}
FALLBACK = Shown(flags=("window_fallback",))
RIGHT = Shown(pixels=LEVELS)


def film(stored: np.ndarray = RAMP, **elements: Any) -> Dataset:
    named = {"Modality": "DX", "PatientName": PATIENT, "PatientID": PATIENT, "bits": 12}
    return image_dataset(stored, **{**named, **WINDOW, **elements})


def plain(**elements: Any) -> bytes:
    return written(film(**elements))


def two_frames(syntax: uid.UID) -> Dataset:
    """Return a dataset of TWO whose pixels are as the syntax has them."""
    dataset = film(TWO, NumberOfFrames=2)
    if syntax == uid.RLELossless or not syntax.is_encapsulated:
        lossless(dataset, TWO, syntax)
    else:
        frames = [lossless(film(), frame, syntax) for frame in TWO]
        written_compressed(dataset, syntax, [first_fragment(frame) for frame in frames])
    return dataset


def first_fragment(file: bytes) -> bytes:
    """Return the codestream of a compressed file of one frame."""
    start = file.index(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff") + 12
    table = int.from_bytes(file[start + 4 : start + 8], "little")
    start += 8 + table
    length = int.from_bytes(file[start + 4 : start + 8], "little")
    return file[start + 8 : start + 8 + length]


def codestream(syntax: uid.UID) -> bytes:
    return first_fragment(lossless(film(), RAMP, syntax))


def lying(syntax: uid.UID, **elements: Any) -> bytes:
    """Return a file of the right pixels whose header then says otherwise."""
    dataset = film()
    lossless(dataset, RAMP, syntax)
    dataset.update(dataset_of(**elements))
    return written(dataset, syntax)


def lying_about_frames(syntax: uid.UID, count: Any) -> bytes:
    dataset = two_frames(syntax)
    dataset.NumberOfFrames = count
    return written(dataset, syntax)


def cut(syntax: uid.UID, share: float) -> bytes:
    file = lossless(film(), RAMP, syntax)
    return file[: int(len(file) * share)]


def of_codestream(syntax: uid.UID, data: bytes, **elements: Any) -> bytes:
    return written_compressed(film(**elements), syntax, [data])


def of_fragments(syntax: uid.UID, items: list[bytes], table: bytes = b"", **elements: Any) -> bytes:
    """Return a file with these items as they are, after a basic offset table."""
    dataset = film(**elements)
    body = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<L", len(item)) + item for item in [table, *items])
    dataset.PixelData = body + b"\xfe\xff\xdd\xe0\0\0\0\0"
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return written(dataset, syntax)


def baseline_jpeg(size: tuple[int, int] = (32, 32), **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(LEVELS[..., 0]).resize(size).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def baseline(data: bytes | None = None, **elements: Any) -> bytes:
    eight_bits = {"bits": 8, "WindowCenter": "128", "WindowWidth": "256"}
    dataset = film(RAMP.astype(np.uint8), **{**eight_bits, **elements})
    return written_compressed(dataset, uid.JPEGBaseline8Bit, [data or baseline_jpeg()])


def with_frame_size(jpeg: bytes, rows: int, columns: int) -> bytes:
    """Return a JPEG or JPEG-LS whose frame header says another size."""
    start = next(
        at for at in range(len(jpeg)) if jpeg[at : at + 2] in (b"\xff\xc0", b"\xff\xc3", b"\xff\xf7")
    )
    return jpeg[: start + 5] + struct.pack(">HH", rows, columns) + jpeg[start + 9 :]


def with_siz(data: bytes, offset: int, values: list[int]) -> bytes:
    """Return a JPEG 2000 codestream with other 32-bit numbers at `offset` of its start."""
    numbers = struct.pack(f">{len(values)}L", *values)
    return data[:offset] + numbers + data[offset + len(numbers) :]


def rle(segments: list[bytes], count: int | None = None, offsets: list[int] | None = None) -> bytes:
    """Return an RLE frame (PS3.5 G.5) of segments, whose header may lie."""
    if offsets is None:
        offsets = [64 + sum(map(len, segments[:place])) for place in range(len(segments))]
    header = struct.pack("<16L", len(segments) if count is None else count, *(offsets + [0] * 15)[:15])
    return header + b"".join(segments)


def rle_segments(frame: bytes) -> list[bytes]:
    count, *offsets = struct.unpack_from("<16L", frame)
    ends = [*offsets[1:count], len(frame)]
    return [frame[start:end] for start, end in zip(offsets, ends, strict=False)]


def of_rle(frame: bytes, **elements: Any) -> bytes:
    return of_codestream(uid.RLELossless, frame, **elements)


def nested(depth: int, *, undefined: bool, tag: bytes = b"\x08\x00\x40\x11") -> bytes:
    """Return a film with sequences in sequences before its pixels."""
    head, foot = b"", b""
    if undefined:
        head = (tag + b"SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * depth
        foot = (b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0") * depth
    else:
        head = b"".join(
            tag
            + b"SQ\0\0"
            + struct.pack("<L", 20 * level - 12)
            + b"\xfe\xff\x00\xe0"
            + struct.pack("<L", 20 * level - 20)
            for level in range(depth, 0, -1)
        )
    file = plain()
    at = file.index(b"\x10\x00\x10\x00PN")
    return file[:at] + head + foot + file[at:]


def with_bytes(file: bytes, old: bytes, new: bytes) -> bytes:
    assert file.count(old) == 1, old
    return file.replace(old, new)


def with_text(keyword: str, new: str, **elements: Any) -> bytes:
    """Return a film in which an element is text that pydicom would not write."""
    # Written as eight digits first, then exchanged for as many characters.
    file = plain(**{**elements, keyword: "12345678"})
    return with_bytes(file, b"12345678", new.encode().ljust(8))


def palette(**elements: Any) -> bytes:
    dataset = film((RAMP // 16).astype(np.uint8), photometric="PALETTE COLOR", bits=8)
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(
            dataset, f"{colour}PaletteColorLookupTableData", (np.arange(256, dtype="<u2") * 257).tobytes()
        )
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return written(dataset)


def segmented_palette(segments: list[int]) -> bytes:
    data = np.array(segments, "<u2").tobytes()
    colours = ("Red", "Green", "Blue")
    absent = {f"{colour}PaletteColorLookupTableData": None for colour in colours}
    return palette(**absent, **{f"Segmented{colour}PaletteColorLookupTableData": data for colour in colours})


def colour(**elements: Any) -> bytes:
    return written(image_dataset(LEVELS, **{"PatientName": PATIENT, **elements}))


def of_class(sop_class: str, **elements: Any) -> bytes:
    """Return an object of a kind, with no pixels."""
    return written(
        dataset_of(SOPClassUID=sop_class, SOPInstanceUID="2.25.1", PatientName=PATIENT, **elements)
    )


def big_endian() -> bytes:
    return written(film(), uid.ExplicitVRBigEndian)


def deflated(body: bytes) -> bytes:
    file = written(film(), uid.DeflatedExplicitVRLittleEndian)
    start = 144 + int.from_bytes(file[140:144], "little")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return file[:start] + deflater.compress(body) + deflater.flush()


def of_syntax(syntax: str, data: bytes | None = None) -> bytes:
    """Return a film that names this transfer syntax, with `data` as its one fragment if given."""
    dataset = film()
    if data is not None:
        dataset.PixelData = encapsulate([data])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    known = written(dataset, uid.JPEGBaseline8Bit if data is not None else uid.ExplicitVRLittleEndian)
    old = (uid.JPEGBaseline8Bit if data is not None else uid.ExplicitVRLittleEndian).encode()
    stated = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(old) + len(old) % 2) + old + b"\0" * (len(old) % 2)
    padded = syntax.encode() + b"\0" * (len(syntax) % 2)
    changed = with_bytes(known, stated, b"\x02\x00\x10\x00UI" + struct.pack("<H", len(padded)) + padded)
    group = int.from_bytes(known[140:144], "little") + len(changed) - len(known)
    return changed[:140] + struct.pack("<L", group) + changed[144:]


def with_preamble(start: bytes) -> bytes:
    return start.ljust(128, b"\0") + plain()[128:]


def floats(keyword: str, dtype: type) -> bytes:
    dataset = film(PixelData=None, bits=8 * np.dtype(dtype).itemsize)
    dataset.BitsAllocated = 8 * np.dtype(dtype).itemsize
    setattr(dataset, keyword, RAMP.astype(dtype).tobytes())
    return written(dataset)


def enhanced(groups: list[Dataset]) -> bytes:
    return written(film(TWO, NumberOfFrames=2, PerFrameFunctionalGroupsSequence=Sequence(groups)))


def offsets(numbers: list[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}L", *numbers)


def two_items() -> list[bytes]:
    """Return the two frames of TWO, each as one fragment."""
    frames = [first_fragment(lossless(film(), frame, uid.JPEG2000Lossless)) for frame in TWO]
    return [frame + b"\0" * (len(frame) % 2) for frame in frames]


def extended_offsets(numbers: list[int], lengths: list[int]) -> bytes:
    return of_fragments(
        uid.JPEG2000Lossless,
        two_items(),
        stored=TWO,
        NumberOfFrames=2,
        ExtendedOffsetTable=struct.pack(f"<{len(numbers)}Q", *numbers),
        ExtendedOffsetTableLengths=struct.pack(f"<{len(lengths)}Q", *lengths),
    )


def two_fragments(table: bytes) -> bytes:
    return of_fragments(uid.JPEG2000Lossless, two_items(), table, stored=TWO, NumberOfFrames=2)


def two_of_four_tiles() -> bytes:
    """Return a JPEG 2000 codestream of which half the tiles are missing."""
    file = io.BytesIO()
    Image.fromarray(RAMP).save(file, "JPEG2000", no_jp2=True, tile_size=(16, 16))
    data = file.getvalue()
    starts = [at for at in range(len(data)) if data[at : at + 4] == b"\xff\x90\0\x0a"]
    assert len(starts) == 4
    return data[: starts[2]] + b"\xff\xd9"
