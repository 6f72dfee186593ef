"""Compressed frames: the newer syntaxes, frames in pieces, and codestreams that do not hold what they say."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from dicom_files import (
    DEFLATED_FRAMES,
    JPEG_XL,
    JPEG_XL_LOSSLESS,
    JPEG_XL_RECOMPRESSION,
    image_dataset,
    lossless,
    written,
    written_compressed,
)
from pictures import read, refusal
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset

from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images.codestream import codestream_header

# The test runner lifts the silence that the package asks for.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

RAMP = np.arange(0, 4096, 4, dtype=np.uint16).reshape(32, 32)
NOISE = np.random.default_rng(0).integers(0, 4096, (32, 32)).astype(np.uint16)
COLOURS = np.random.default_rng(1).integers(0, 256, (24, 40, 3)).astype(np.uint8)
SMOOTH = np.stack(np.meshgrid(np.arange(64), np.arange(48)), -1).repeat([1, 2], axis=-1).astype(np.uint8) * 3


def film(stored: np.ndarray = RAMP) -> Dataset:
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    return image_dataset(stored, Modality="DX", bits=12, **window)


# --- JPEG XL and deflated frames ---


def test_lossless_colour_in_jpeg_xl_is_untouched() -> None:
    codestream = imagecodecs.jpegxl_encode(COLOURS, lossless=True)
    dataset = image_dataset(COLOURS)
    np.testing.assert_array_equal(read(written_compressed(dataset, JPEG_XL_LOSSLESS, [codestream])), COLOURS)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
def test_lossy_colour_in_jpeg_xl_becomes_rgb_once(photometric: str) -> None:
    codestream = imagecodecs.jpegxl_encode(SMOOTH, level=95)
    file = written_compressed(image_dataset(SMOOTH, photometric=photometric), JPEG_XL, [codestream])
    assert np.abs(read(file).astype(int) - SMOOTH).max() <= 12


def test_a_recompressed_jpeg_is_as_the_jpeg() -> None:
    jpeg = imagecodecs.jpeg8_encode(SMOOTH, level=95)
    recompressed = imagecodecs.jpegxl_encode_jpeg(jpeg)
    dataset = image_dataset(SMOOTH, photometric="YBR_FULL_422")
    got = read(written_compressed(dataset, JPEG_XL_RECOMPRESSION, [recompressed])).astype(int)
    assert np.abs(got - imagecodecs.jpeg8_decode(jpeg)).max() <= 4


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (8, 8),
        (256, 256),
        (24, 40),
        (1, 700),
        (700, 1),
        (300, 360),
        (30, 40),
        (90, 160),
        (2000, 4000),
        (40, 50),
    ],
)
@pytest.mark.parametrize("container", [False, True])
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(
    rows: int, columns: int, container: bool
) -> None:
    grey = np.zeros((rows, columns), np.uint8)
    grey[0, 0] = 9
    header = codestream_header(imagecodecs.jpegxl_encode(grey, lossless=True, usecontainer=container))
    assert header is not None
    assert (header.rows, header.columns) == (rows, columns)


def test_a_jpeg_xl_of_another_size_is_malformed() -> None:
    codestream = imagecodecs.jpegxl_encode(RAMP[:16], lossless=True)
    assert refusal(written_compressed(film(), JPEG_XL_LOSSLESS, [codestream])).reason == Reason.MALFORMED


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9])
def test_a_jpeg_xl_that_ends_early_is_malformed(share: float, container: bool) -> None:
    codestream = imagecodecs.jpegxl_encode(NOISE, lossless=True, usecontainer=container)
    cut = codestream[: int(len(codestream) * share)]
    assert refusal(written_compressed(film(), JPEG_XL_LOSSLESS, [cut])).reason == Reason.MALFORMED


def test_a_jpeg_xl_of_colours_in_a_grey_file_is_malformed() -> None:
    codestream = imagecodecs.jpegxl_encode(np.stack([RAMP] * 3, -1), lossless=True)
    assert refusal(written_compressed(film(), JPEG_XL_LOSSLESS, [codestream])).reason == Reason.MALFORMED


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def test_a_deflated_frame_is_inflated_no_further_than_its_pixels() -> None:
    bomb = deflated(RAMP.tobytes() + bytes(200 * 2**20))
    got = read(written_compressed(film(), DEFLATED_FRAMES, [bomb]))
    np.testing.assert_array_equal(got, read(written(film())))


def test_a_deflated_frame_that_ends_early_is_truncated() -> None:
    assert (
        refusal(written_compressed(film(), DEFLATED_FRAMES, [deflated(RAMP.tobytes()[:-2])])).reason
        == "truncated"
    )


# --- Frames and fragments ---


def fragmented(frames: list[list[bytes]], with_table: bool, syntax: uid.UID) -> bytes:
    """Return a file whose frames are in several fragments each."""
    offsets, items, position = [], b"", 0
    for parts in frames:
        offsets.append(position)
        for part in parts:
            item = struct.pack("<HHL", 0xFFFE, 0xE000, len(part)) + part
            items, position = items + item, position + len(item)
    table = struct.pack(f"<{len(offsets)}L", *offsets) if with_table else b""
    stored = np.stack([RAMP] * len(frames))
    dataset = image_dataset(
        stored, bits=12, NumberOfFrames=len(frames), WindowCenter="2048", WindowWidth="4096"
    )
    dataset.PixelData = struct.pack("<HHL", 0xFFFE, 0xE000, len(table)) + table + items
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return written(dataset, syntax)


def pieces(codestream: bytes) -> list[bytes]:
    codestream += b"\0" * (len(codestream) % 2)
    return [codestream[:100], codestream[100:400], codestream[400:]]


@pytest.mark.parametrize("with_table", [False, True])
def test_one_frame_may_be_in_several_fragments(with_table: bool) -> None:
    codestream = imagecodecs.jpeg2k_encode(NOISE, codecformat="j2k", reversible=True)
    file = fragmented([pieces(codestream)], with_table, uid.JPEG2000Lossless)
    np.testing.assert_array_equal(read(file), read(written(film(NOISE))))


def test_several_frames_may_be_in_several_fragments() -> None:
    shown = [NOISE, NOISE[::-1], NOISE.T]
    frames = [pieces(imagecodecs.jpegls_encode(np.ascontiguousarray(frame))) for frame in shown]
    file = fragmented(frames, True, uid.JPEGLSLossless)
    for number, frame in enumerate(shown):
        np.testing.assert_array_equal(read(file, number), read(written(film(np.ascontiguousarray(frame)))))


@pytest.mark.parametrize("offsets", [(0, 0, 2), (0, 2, 1), (0, 1, 1)])
def test_an_offset_table_that_goes_back_is_malformed(offsets: tuple[int, ...]) -> None:
    shown = [NOISE, np.ascontiguousarray(NOISE[::-1]), np.ascontiguousarray(NOISE.T)]
    frames = [pieces(imagecodecs.jpegls_encode(frame)) for frame in shown]
    file = fragmented(frames, True, uid.JPEGLSLossless)
    places = [sum(sum(map(len, parts)) + 8 * len(parts) for parts in frames[:end]) for end in range(3)]
    table = struct.pack("<3L", *places)
    assert file.count(table) == 1
    lying = file.replace(table, struct.pack("<3L", *(places[number] for number in offsets)))
    for frame in range(3):
        with pytest.raises(Unreadable) as caught:
            read(lying, frame)
        assert caught.value.reason == Reason.MALFORMED


# --- Codestreams that do not hold what they say ---


def test_a_lossless_jpeg_that_ends_early_within_its_fragment_is_no_part_of_a_picture() -> None:
    codestream = imagecodecs.ljpeg_encode(NOISE, bitspersample=16)
    cut = codestream[: len(codestream) * 6 // 10]
    assert refusal(written_compressed(film(), uid.JPEGLossless, [cut])).reason == Reason.MALFORMED


def test_a_jpeg_too_short_for_its_pixels_is_refused_before_it_is_decoded() -> None:
    codestream = imagecodecs.jpeg8_encode(SMOOTH[..., 0].copy())
    sof = codestream.index(b"\xff\xc0")
    lying = codestream[: sof + 5] + struct.pack(">HH", 4000, 4000) + codestream[sof + 9 :]
    dataset = image_dataset(np.zeros((4000, 4000), np.uint8))
    assert refusal(written_compressed(dataset, uid.JPEGBaseline8Bit, [lying])).reason == Reason.MALFORMED


def test_a_jpeg_2000_that_lacks_tiles_is_malformed() -> None:
    stored = (NOISE >> 4).astype(np.uint8)
    tiled = io.BytesIO()
    Image.fromarray(stored).save(tiled, "JPEG2000", no_jp2=True, tile_size=(16, 16))
    codestream = tiled.getvalue()
    starts = [at for at in range(len(codestream)) if codestream[at : at + 4] == b"\xff\x90\0\x0a"]
    assert len(starts) == 4
    whole = written_compressed(image_dataset(stored), uid.JPEG2000Lossless, [codestream])
    np.testing.assert_array_equal(read(whole), read(written(image_dataset(stored))))
    half = codestream[: starts[2]] + b"\xff\xd9"
    file = written_compressed(image_dataset(stored), uid.JPEG2000Lossless, [half])
    assert refusal(file).reason == Reason.MALFORMED


def test_a_jpeg_2000_of_more_tiles_than_bytes_is_malformed() -> None:
    codestream = bytearray(imagecodecs.jpeg2k_encode(NOISE, codecformat="j2k", reversible=True))
    codestream[24:32] = struct.pack(">LL", 1, 1)  # XTsiz, YTsiz
    assert (
        refusal(written_compressed(film(), uid.JPEG2000Lossless, [bytes(codestream)])).reason
        == Reason.MALFORMED
    )


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless])
@pytest.mark.parametrize("samples", [np.uint8, np.uint16])
def test_a_compressed_frame_of_either_depth_is_exact(syntax: uid.UID, samples: type) -> None:
    stored = NOISE.astype(samples)
    window = {"WindowCenter": "2048", "WindowWidth": "4096"} if samples is np.uint16 else {}
    dataset = image_dataset(stored, Modality="DX", **window)
    expected = read(written(image_dataset(stored, Modality="DX", **window)))
    np.testing.assert_array_equal(read(lossless(dataset, stored, syntax)), expected)
