"""Small good files of every kind, to be damaged: made here, or from among those that come with pydicom."""

import functools
import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from dicom_files import (
    dataset_of,
    image_dataset,
    lookup_table,
    lossless,
    sequence_item,
    written,
    written_compressed,
)
from hostile_case import PATIENT
from PIL import Image
from pydicom import uid
from pydicom.sequence import Sequence

GREY = (np.add.outer(np.arange(32) * 5, np.arange(48) * 3) % 256).astype(np.uint8)
COLOURS = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
DEEP = GREY.astype(np.uint16) * 16
LOSSLESS = (
    uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLossless, uid.JPEGLSLossless,
    uid.JPEG2000Lossless, uid.HTJ2KLossless,
)  # fmt: skip
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
MOST_BUNDLED_BYTES = 60_000


@functools.cache
def good_files() -> dict[str, tuple[bytes, ...]]:
    """Return files by kind; the same ones in the same order each time."""
    return {
        "dicom": (*_made_dicom(), *_bundled_dicom()),
        "png": tuple(_png()),
        "jpeg": tuple(_jpeg()),
        "tiff": tuple(_tiff()),
        "other": tuple(_saved(Image.fromarray(COLOURS), kind) for kind in ("BMP", "GIF", "WEBP")),
    }


def _bundled_dicom() -> list[bytes]:
    files = sorted(path for path in BUNDLED.rglob("*") if path.is_file() and path.suffix in (".dcm", ""))
    contents = [path.read_bytes() for path in files if path.stat().st_size <= MOST_BUNDLED_BYTES]
    return [content for content in contents if b"\xe0\x7f\x10\x00" in content]  # pixel data


def _film(stored: np.ndarray = DEEP, **elements: Any) -> pydicom.Dataset:
    named = {
        "PatientName": PATIENT,
        "Modality": "DX",
        "WindowCenter": "2048",
        "WindowWidth": "4096",
        "bits": 12,
    }
    return image_dataset(stored, **{**named, **elements})


def _made_dicom() -> list[bytes]:
    files = [lossless(_film(), DEEP, syntax) for syntax in LOSSLESS]
    ct = {"sop_class": uid.CTImageStorage, "Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "-1024"}
    files += [written(_film(**ct)), written(image_dataset(COLOURS, PatientName=PATIENT))]
    groups = [
        dataset_of(
            PixelValueTransformationSequence=sequence_item(
                RescaleSlope="2", RescaleIntercept=str(-9 * frame)
            ),
            FrameVOILUTSequence=sequence_item(WindowCenter=str(900 + frame), WindowWidth="700"),
        )
        for frame in range(3)
    ]
    volume = np.stack([DEEP, DEEP[::-1], DEEP[:, ::-1]])
    enhanced = {"NumberOfFrames": 3, "PerFrameFunctionalGroupsSequence": Sequence(groups)}
    files += [
        lossless(_film(volume, **enhanced), volume, syntax) for syntax in (LOSSLESS[1], uid.RLELossless)
    ]
    tables = {"VOILUTSequence": lookup_table([64, 0, 12], list(range(0, 4096, 64)), "OW")}
    files.append(
        written(_film(**tables, ModalityLUTSequence=lookup_table([256, 0, 16], list(range(256)), "US")))
    )
    files += [_palette("PaletteColorLookupTableData", list(range(0, 65536, 256))),
              _palette("Segmented{}PaletteColorLookupTableData", [0, 1, 0, 1, 255, 65535])]  # fmt: skip
    jpeg = _saved(Image.fromarray(COLOURS), "JPEG")
    files.append(
        written_compressed(image_dataset(COLOURS, photometric="YBR_FULL_422"), uid.JPEGBaseline8Bit, [jpeg])
    )
    deep_jpeg = imagecodecs.jpeg8_encode(DEEP, bitspersample=12)
    files.append(written_compressed(_film(), uid.JPEGExtended12Bit, [deep_jpeg]))
    return files


def _palette(keyword: str, entries: list[int]) -> bytes:
    dataset = image_dataset(GREY, photometric="PALETTE COLOR", PatientName=PATIENT)
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        full = keyword.format(colour) if "{}" in keyword else colour + keyword
        setattr(dataset, full, np.array(entries, "<u2").tobytes())
    return written(dataset)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _images() -> list[Image.Image]:
    alpha = np.dstack([COLOURS, GREY])
    return [Image.fromarray(array) for array in (COLOURS, GREY, DEEP, alpha)]


def _oriented() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = PATIENT
    return exif


def _png() -> list[bytes]:
    colour, grey, *_ = images = _images()
    made = [*images, Image.fromarray(GREY > 99), colour.convert("P")]
    return [
        *(_saved(image, "PNG") for image in made),
        _saved(colour, "PNG", exif=_oriented()),
        _saved(grey, "PNG", save_all=True, append_images=[Image.fromarray(GREY[::-1])] * 3),
    ]


def _jpeg() -> list[bytes]:
    colour, grey, *_ = _images()
    return [
        _saved(colour, "JPEG", exif=_oriented()),
        _saved(colour, "JPEG", progressive=True, subsampling=0, comment=PATIENT),
        _saved(colour, "JPEG", restart_marker_blocks=2),
        _saved(colour.convert("CMYK"), "JPEG"),
        _saved(grey, "JPEG"),
        imagecodecs.ljpeg_encode(GREY),
    ]


def _tiff() -> list[bytes]:
    images = _images()
    colour, _, deep, _ = images
    files = [
        _saved(image, "TIFF")
        for image in [*images, Image.fromarray(GREY.astype(np.float32)), colour.convert("P")]
    ]
    files += [
        _saved(colour, "TIFF", compression=compression)
        for compression in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")
    ]
    files.append(_saved(colour, "TIFF", save_all=True, append_images=images, exif=_oriented()))
    files.append(_saved(deep, "TIFF", compression="tiff_lzw"))
    return files
