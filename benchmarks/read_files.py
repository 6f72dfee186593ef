"""The files that `benchmarks.read` measures, and how each is read: barely, by us, and by us in a worker."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image
from pydicom import dcmread, uid
from pydicom.encaps import generate_frames

from medsiglip_search.images import open_image
from tests.dicom_files import image_dataset, lossless, written_compressed

CT = {"sop_class": uid.CTImageStorage, "Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "-1024"}
FILM = {"Modality": "CR", "bits": 12, "WindowCenter": "2048", "WindowWidth": "4096"}
FRAMES = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """One file.

    read_barely: decodes it with nothing but the library, and returns the pixels of all frames.
    pixels: of all frames.
    """

    kind: str
    path: Path
    read_barely: Callable[[Path], np.ndarray]
    pixels: int


def samples(folder: Path) -> list[Sample]:
    """Write the files into a folder; the same ones each time."""
    made = [*_pictures(), *_dicom()]
    found = []
    for number, (kind, content, read_barely) in enumerate(made):
        path = folder / str(number)
        path.write_bytes(content)
        with open_image(path) as image:
            pixels = sum(image.read(frame).pixels[..., 0].size for frame in range(image.frame_count))
        found.append(Sample(kind, path, read_barely, pixels))
    return found


def read_all(path: str) -> Iterator[np.ndarray]:
    """Yield the RGB of every frame: what the guard runs in a worker, and the benchmark in its own process."""
    with open_image(path) as image:
        for frame in range(image.frame_count):
            yield image.read(frame).pixels


def _pillow(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def _pydicom(path: Path) -> np.ndarray:
    return dcmread(path).pixel_array


def _libjpeg(path: Path) -> np.ndarray:
    """Decode lossless JPEG, for which pydicom has no decoder here."""
    [codestream] = generate_frames(dcmread(path).PixelData, number_of_frames=1)
    return imagecodecs.jpeg8_decode(codestream)


def _scene(rows: int, columns: int, top: int, seed: int = 0) -> np.ndarray:
    """Return (rows, columns) float64 of 0..top: soft shapes under the noise of a detector."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    shapes = sum(np.cos(2 * np.pi * (a * x + b * y + c)) for a, b, c in rng.uniform(-4, 4, (6, 3)))
    body = np.hypot(x - 0.5, y - 0.5) < 0.45
    return np.clip((0.5 + shapes / 12) * body * top + rng.normal(0, top / 250, (rows, columns)), 0, top)


def _colours(rows: int, columns: int) -> Image.Image:
    channels = [_scene(rows, columns, 255, seed).astype(np.uint8) for seed in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1))


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _pictures() -> Iterator[tuple[str, bytes, Callable[[Path], np.ndarray]]]:
    for size, rows, columns in (("0.3", 480, 640), ("1", 1024, 1024), ("4", 2048, 2048)):
        yield f"JPEG {size} MP", _saved(_colours(rows, columns), "JPEG", quality=90), _pillow
    yield "PNG 8-bit 1 MP", _saved(_colours(1024, 1024), "PNG"), _pillow
    deep = Image.fromarray(_scene(1024, 1024, 4095).astype(np.uint16))
    yield "PNG 16-bit grey 1 MP", _saved(deep, "PNG"), _pillow
    yield "TIFF 1 MP", _saved(_colours(1024, 1024), "TIFF"), _pillow


def _dicom() -> Iterator[tuple[str, bytes, Callable[[Path], np.ndarray]]]:
    ct = _scene(512, 512, 3000).astype(np.int16)
    film = _scene(2048, 2048, 4095).astype(np.uint16)
    yield "DICOM CT 512", lossless(image_dataset(ct, **CT), ct, uid.ExplicitVRLittleEndian), _pydicom
    yield "DICOM CR 2k", lossless(image_dataset(film, **FILM), film, uid.ExplicitVRLittleEndian), _pydicom
    syntaxes = {
        "RLE": uid.RLELossless,
        "JPEG-LS": uid.JPEGLSLossless,
        "JPEG 2000": uid.JPEG2000Lossless,
        "HTJ2K": uid.HTJ2KLossless,
    }
    for name, syntax in syntaxes.items():
        yield f"DICOM CT 512 {name}", lossless(image_dataset(ct, **CT), ct, syntax), _pydicom
    yield "DICOM CR 2k RLE", lossless(image_dataset(film, **FILM), film, uid.RLELossless), _pydicom
    small = film[:512, :512].copy()
    yield (
        "DICOM CR 512 JPEG lossless",
        lossless(image_dataset(small, **FILM), small, uid.JPEGLossless),
        _libjpeg,
    )
    jpeg = _colours(768, 1024)
    colour = image_dataset(np.asarray(jpeg), photometric="YBR_FULL_422", Modality="XC")
    frames = [_saved(jpeg, "JPEG", quality=90)]
    yield "DICOM JPEG colour 0.8 MP", written_compressed(colour, uid.JPEGBaseline8Bit, frames), _pydicom
    volume = np.stack([_scene(512, 512, 3000, seed).astype(np.int16) for seed in range(FRAMES)])
    several = image_dataset(volume, **CT, NumberOfFrames=FRAMES)
    yield f"DICOM CT {FRAMES} x 512", lossless(several, volume, uid.ExplicitVRLittleEndian), _pydicom
