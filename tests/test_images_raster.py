"""PNG, JPEG, TIFF, BMP, WebP and GIF of every mode to upright RGB."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images import open_image

# The test runner lifts the silence that the package asks for.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning:PIL")

COLOURS = np.zeros((6, 9, 3), dtype=np.uint8)
COLOURS[:, :3], COLOURS[:, 3:6], COLOURS[:2, 6:] = (250, 0, 0), (0, 120, 60), (9, 9, 200)
GREY = np.arange(54, dtype=np.uint8).reshape(6, 9) * 4


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(file: bytes, frame: int = 0) -> np.ndarray:
    with open_image(file) as opened:
        return opened.read(frame).pixels


def refusal(file: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        read(file)
    return caught.value


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., np.newaxis], 3, axis=-1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_rgb_and_8_bit_grey_are_untouched(kind: str) -> None:
    np.testing.assert_array_equal(read(saved(Image.fromarray(COLOURS), kind)), COLOURS)
    np.testing.assert_array_equal(read(saved(Image.fromarray(GREY), kind)), as_rgb(GREY))


def test_webp_is_untouched_when_lossless() -> None:
    np.testing.assert_array_equal(read(saved(Image.fromarray(COLOURS), "WEBP", lossless=True)), COLOURS)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
def test_compressed_tiffs_are_read(compression: str | None) -> None:
    np.testing.assert_array_equal(
        read(saved(Image.fromarray(COLOURS), "TIFF", compression=compression)), COLOURS
    )


def test_jpeg_of_grey_ycbcr_and_cmyk_become_rgb() -> None:
    large = Image.fromarray(COLOURS).resize((180, 120), Image.Resampling.NEAREST)
    for mode in ("RGB", "CMYK"):
        got = read(saved(large.convert(mode), "JPEG", quality=95, subsampling=0)).astype(int)
        assert np.abs(got - np.asarray(large)).max() <= 4, mode
    grey = large.convert("L")
    got = read(saved(grey, "JPEG", quality=95)).astype(int)
    assert np.abs(got - as_rgb(np.asarray(grey))).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit_is_black_and_white(kind: str) -> None:
    bits = GREY > 100
    np.testing.assert_array_equal(read(saved(Image.fromarray(bits), kind)), as_rgb(bits * np.uint8(255)))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("top", [4000, 65535])
def test_16_bit_grey_is_scaled_by_its_real_range(kind: str, top: int) -> None:
    values = np.array([[100, 100 + (top - 100) // 5, top]] * 2, dtype=np.uint16)
    assert read(saved(Image.fromarray(values), kind))[0].tolist() == [[0] * 3, [51] * 3, [255] * 3]


def tiff(values: np.ndarray, white_is_zero: bool = False, big_endian: bool = False) -> bytes:
    """Return an uncompressed one-strip TIFF, of kinds that Pillow does not write."""
    order = ">" if big_endian else "<"
    rows, columns = values.shape
    sample_format = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    entries = [
        (256, columns), (257, rows), (258, 8 * values.dtype.itemsize), (259, 1),
        (262, int(not white_is_zero)), (273, 8 + 2 + 10 * 12 + 4), (277, 1), (278, rows),
        (279, len(data)), (339, sample_format),
    ]  # fmt: skip
    header = struct.pack(f"{order}2sHL", b"MM" if big_endian else b"II", 42, 8)
    directory = struct.pack(f"{order}H", len(entries))
    for tag, value in entries:
        directory += struct.pack(f"{order}HHLL", tag, 4, 1, value)
    return header + directory + struct.pack(f"{order}L", 0) + data


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.int32, np.float32])
def test_deep_tiffs_are_scaled_by_their_real_range(dtype: type) -> None:
    low = -1000 if np.dtype(dtype).kind in "if" else 0
    high = np.iinfo(dtype).max // 2 * 2 if np.dtype(dtype).kind in "iu" else 3e4
    values = np.array([[low, (low + high) / 5 * 1 + low * 3 / 5, high]]).astype(dtype)
    expected = np.rint((values.astype(float) - low) / (float(high) - low) * 255)
    assert np.abs(read(tiff(values))[..., 0] - expected).max() <= 1
    assert read(tiff(values))[0, [0, 2], 0].tolist() == [0, 255]


def test_big_endian_16_bit_tiff_is_read() -> None:
    values = np.array([[0, 1, 256, 1000]], dtype=np.uint16)
    assert read(tiff(values, big_endian=True))[0, :, 0].tolist() == [0, 0, 65, 255]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_tiff_whose_white_is_zero_is_inverted_once(dtype: type) -> None:
    values = np.array([[0, 51, 255]], dtype=dtype)
    assert read(tiff(values, white_is_zero=True))[0, :, 0].tolist() == [255, 204, 0]


def test_not_a_number_does_not_spoil_the_range() -> None:
    values = np.array([[0, np.nan, 50, 100, np.inf]], dtype=np.float32)
    assert read(tiff(values))[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_alpha_lies_over_black() -> None:
    alpha = np.array([[0, 51, 255]], dtype=np.uint8)
    rgba = np.dstack([np.full_like(alpha, 200), np.full_like(alpha, 100), np.full_like(alpha, 0), alpha])
    assert read(saved(Image.fromarray(rgba), "PNG"))[0].tolist() == [[0, 0, 0], [40, 20, 0], [200, 100, 0]]
    la = np.dstack([np.full_like(alpha, 200), alpha])
    assert read(saved(Image.fromarray(la, "LA"), "PNG"))[0, :, 0].tolist() == [0, 40, 200]


def test_a_transparent_palette_entry_is_black() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.putdata([0, 1, 2])
    file = saved(image, "PNG", transparency=1)
    assert read(file)[0].tolist() == [[200, 0, 0], [0, 0, 0], [0, 0, 200]]


def test_16_bit_colour_keeps_its_high_byte() -> None:
    rows = [
        b"\0" + b"".join(struct.pack(">3H", *(int(c) * 257 for c in pixel)) for pixel in row)
        for row in COLOURS
    ]
    np.testing.assert_array_equal(read(png(9, 6, b"".join(rows), depth=16, colour=2)), COLOURS)


def png(width: int, height: int, raw: bytes, depth: int = 8, colour: int = 0) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    header = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(kind: str, options: dict[str, Any], orientation: int) -> None:
    corners = np.zeros((80, 120, 3), dtype=np.uint8)
    corners[:40, :60], corners[40:, :60], corners[40:, 60:] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    exif = Image.Exif()
    exif[0x0112] = orientation
    with open_image(saved(Image.fromarray(corners), kind, exif=exif, **options)) as file:
        got = file.read().pixels
        np.testing.assert_array_equal(file.read().pixels, got)
    reference = Image.fromarray(corners)
    reference.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(reference))
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).max() <= 4


def test_damaged_exif_does_not_lose_the_picture() -> None:
    file = saved(Image.fromarray(COLOURS), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(read(file), COLOURS)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_pages_and_animation_frames_are_frames(kind: str) -> None:
    pages = [np.roll(COLOURS, shift, axis=1) for shift in (0, 3, 6)]
    images = [Image.fromarray(page) for page in pages]
    options = {"lossless": True} if kind == "WEBP" else {}
    file = saved(images[0], kind, save_all=True, append_images=images[1:], **options)
    with open_image(file) as opened:
        assert opened.frame_count == 3
        for frame in (2, 0, 1, 1):
            picture = opened.read(frame)
            assert picture.frame == frame
            np.testing.assert_array_equal(picture.pixels, pages[frame])


def test_pages_of_different_modes_and_sizes_are_frames() -> None:
    images = [
        Image.fromarray(COLOURS),
        Image.fromarray(GREY[:3]),
        Image.fromarray(GREY.astype(np.uint16) * 9),
    ]
    with open_image(saved(images[0], "TIFF", save_all=True, append_images=images[1:])) as opened:
        assert [opened.read(frame).pixels.shape for frame in range(3)] == [(6, 9, 3), (3, 9, 3), (6, 9, 3)]
        np.testing.assert_array_equal(opened.read(1).pixels, as_rgb(GREY[:3]))


def test_a_multi_picture_jpeg_is_its_first_picture() -> None:
    images = [Image.fromarray(np.full((16, 16, 3), shade, np.uint8)) for shade in (30, 220)]
    images[0].putpixel((0, 0), (255, 255, 255))
    with open_image(saved(images[0], "MPO", save_all=True, append_images=images[1:])) as opened:
        assert opened.frame_count == 1
        assert abs(int(opened.read().pixels[12, 12, 0]) - 30) <= 2


def test_a_picture_of_100_megapixels_in_few_bytes_is_too_large() -> None:
    file = png(10_000, 10_000, bytes(10_001) * 10_000)
    assert len(file) < 120_000
    assert refusal(file).reason == Reason.TOO_LARGE
    assert refusal(png(60_000, 60_000, b"")).reason == Reason.TOO_LARGE


def test_a_gif_that_asks_for_gigabytes_is_too_large() -> None:
    file = bytearray(saved(Image.fromarray(GREY), "GIF"))
    file[6:10] = struct.pack("<HH", 65535, 65535)
    assert refusal(bytes(file)).reason == Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("GIF", {}),
        ("BMP", {}),
        ("WEBP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_ends_early_is_truncated(kind: str, options: dict[str, Any], share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    file = saved(Image.fromarray(noise), kind, **options)
    assert refusal(file[: int(len(file) * share)]).reason == Reason.TRUNCATED


def test_a_damaged_file_is_malformed() -> None:
    file = bytearray(saved(Image.fromarray(COLOURS), "PNG"))
    file[12:16] = b"IHDX"
    assert refusal(bytes(file)).reason == Reason.MALFORMED
