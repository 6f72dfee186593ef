"""PNG, JPEG, TIFF, BMP, WebP and GIF of every mode to upright RGB."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pictures import as_rgb, read, refusal, saved
from PIL import Image, ImageOps
from work import at_most

from medsiglip_search.errors import InvalidQuery, Reason, Unreadable
from medsiglip_search.images import open_image
from medsiglip_search.images.raster import gif, jpeg
from medsiglip_search.images.raster.decoding import PillowFormat
from medsiglip_search.windows import Window

# The test runner lifts the silence that the package asks for.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning:PIL")

COLOURS = np.zeros((6, 9, 3), dtype=np.uint8)
COLOURS[:, :3], COLOURS[:, 3:6], COLOURS[:2, 6:] = (250, 0, 0), (0, 120, 60), (9, 9, 200)
GREY = np.arange(54, dtype=np.uint8).reshape(6, 9) * 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_rgb_and_8_bit_grey_are_untouched(kind: str) -> None:
    np.testing.assert_array_equal(read(saved(Image.fromarray(COLOURS), kind)), COLOURS)
    np.testing.assert_array_equal(read(saved(Image.fromarray(GREY), kind)), as_rgb(GREY))


def test_webp_is_untouched_when_lossless() -> None:
    np.testing.assert_array_equal(read(saved(Image.fromarray(COLOURS), "WEBP", lossless=True)), COLOURS)


def test_jpeg_of_grey_ycbcr_and_cmyk_become_rgb() -> None:
    large = Image.fromarray(COLOURS).resize((180, 120), Image.Resampling.NEAREST)
    for mode in ("RGB", "CMYK"):
        got = read(saved(large.convert(mode), "JPEG", quality=95, subsampling=0)).astype(int)
        assert np.abs(got - np.asarray(large)).max() <= 4, mode
    grey = large.convert("L")
    got = read(saved(grey, "JPEG", quality=95)).astype(int)
    assert np.abs(got - as_rgb(np.asarray(grey))).max() <= 4


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpegs_are_the_same_pixels_as_pillow_reads(mode: str, options: dict[str, Any]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (15, 17, 3)).astype(np.uint8)
    image = Image.fromarray(noise).resize((131, 77)).convert(mode)
    file = saved(image, "JPEG", **options)
    np.testing.assert_array_equal(read(file), np.asarray(Image.open(io.BytesIO(file)).convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "GIF"])
def test_transparency_is_the_same_as_pillow_composes(kind: str, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 4)).astype(np.uint8)
    image = Image.fromarray(noise).convert("RGBA" if mode == "PA" else mode)
    if mode == "PA":
        image = image.quantize(16)
    file = saved(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    layered = Image.open(io.BytesIO(file)).convert("RGBA")
    expected = Image.new("RGB", layered.size)
    expected.paste(layered, mask=layered.getchannel("A"))
    np.testing.assert_array_equal(read(file), np.asarray(expected))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit_is_black_and_white(kind: str) -> None:
    bits = GREY > 100
    np.testing.assert_array_equal(read(saved(Image.fromarray(bits), kind)), as_rgb(bits * np.uint8(255)))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("top", [4000, 65535])
def test_16_bit_grey_is_scaled_by_its_real_range(kind: str, top: int) -> None:
    values = np.array([[100, 100 + (top - 100) // 5, top]] * 2, dtype=np.uint16)
    assert read(saved(Image.fromarray(values), kind))[0].tolist() == [[0] * 3, [51] * 3, [255] * 3]


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


def test_a_transparent_colour_without_alpha_is_black() -> None:
    pixels = np.array([[[200, 0, 0], [1, 2, 3], [0, 0, 200]]], dtype=np.uint8)
    file = saved(Image.fromarray(pixels), "PNG", transparency=(1, 2, 3))
    assert read(file)[0].tolist() == [[200, 0, 0], [0, 0, 0], [0, 0, 200]]
    grey = saved(Image.fromarray(pixels[..., 0]), "PNG", transparency=1)
    assert read(grey)[0, :, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize("top", [4000, 65535])
def test_16_bit_colour_is_scaled_by_one_real_range_for_all_colours(top: int) -> None:
    low, middle = 100, 100 + (top - 100) // 5
    pixels = np.array([[[low, middle, top], [middle, middle, low]]], dtype=np.uint16)
    assert read(deep_png(pixels))[0].tolist() == [[0, 51, 255], [51, 51, 0]]


def test_16_bit_alpha_lies_over_black_and_what_it_hides_is_not_in_the_range() -> None:
    grey = np.array([[[500, 65535], [1000, 65535], [1000, 13107], [60000, 0]]], dtype=np.uint16)
    assert read(deep_png(grey))[0, :, 0].tolist() == [0, 255, 51, 0]
    colour = np.array([[[500, 600, 700, 65535], [1000, 750, 500, 32768], [9, 9, 60000, 0]]], dtype=np.uint16)
    assert read(deep_png(colour))[0].tolist() == [[0, 51, 102], [128, 64, 0], [0, 0, 0]]


def test_a_transparent_value_of_16_bit_grey_is_black_and_not_in_the_range() -> None:
    raw = b"\0" + struct.pack(">3H", 60000, 500, 1000)
    file = png(3, 1, raw, depth=16, extra=chunk(b"tRNS", struct.pack(">H", 60000)))
    assert read(file)[0, :, 0].tolist() == [0, 0, 255]


def test_a_window_is_in_the_stored_values_of_deep_grey() -> None:
    values = np.array([[0, 1000, 2000, 3000, 60000]], dtype=np.uint16)
    with open_image(deep_png(values)) as file:
        assert file.read(window=Window(1000, 3000)).pixels[0, :, 0].tolist() == [0, 0, 128, 255, 255]
        assert file.read().pixels[0, :, 0].tolist() == [0, 4, 9, 13, 255]


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(lambda: saved(Image.fromarray(GREY), "PNG"), id="8-bit grey"),
        pytest.param(lambda: saved(Image.fromarray(COLOURS).convert("P"), "GIF"), id="palette"),
        pytest.param(lambda: saved(Image.fromarray(COLOURS), "JPEG"), id="JPEG"),
        pytest.param(lambda: deep_png(COLOURS.astype(np.uint16)), id="16-bit colour"),
    ],
)
def test_a_window_on_levels_or_colours_is_refused(file: Callable[[], bytes]) -> None:
    with open_image(file()) as opened, pytest.raises(InvalidQuery, match="has no values to window"):
        opened.read(window=Window(0, 100))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png(width: int, height: int, raw: bytes, depth: int = 8, colour: int = 0, extra: bytes = b"") -> bytes:
    """Return a PNG file.

    raw: rows of samples, each after a byte for its filter. extra: chunks before them.
    """
    header = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def deep_png(values: np.ndarray) -> bytes:
    """Return a PNG file of (H, W) or (H, W, 2, 3 or 4) 16-bit values."""
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2] if values.ndim == 3 else 1]
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], raw, depth=16, colour=colour)


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


def test_an_orientation_that_is_written_as_a_long_is_applied() -> None:
    for order, mark in (("<", b"II*\0"), (">", b"MM\0*")):
        exif = b"Exif\0\0" + mark + struct.pack(f"{order}LHHHLLL", 8, 1, 0x0112, 4, 1, 6, 0)
        file = saved(Image.fromarray(COLOURS), "PNG", exif=exif)
        np.testing.assert_array_equal(read(file), np.rot90(COLOURS, -1))


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


def test_frames_of_16_bit_grey_are_scaled_by_their_real_range() -> None:
    values = np.array([[300, 1040, 4000]] * 2, dtype=np.uint16)
    images = [Image.fromarray(values), Image.fromarray(values[:, ::-1].copy())]
    with open_image(saved(images[0], "PNG", save_all=True, append_images=images[1:])) as opened:
        assert opened.frame_count == 2
        assert opened.read(0).pixels[0].tolist() == [[0] * 3, [51] * 3, [255] * 3]
        assert opened.read(1).pixels[0, :, 0].tolist() == [255, 51, 0]
        assert opened.read(1, Window(1040, 4000)).pixels[0, :, 0].tolist() == [255, 0, 0]


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


def test_a_jpeg_that_ends_early_is_truncated_whatever_its_preview_ends_with() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 800, 3)).astype(np.uint8))
    preview = saved(noise.resize((16, 16)), "JPEG")
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0" + preview
    file = saved(noise, "JPEG", exif=exif)
    assert preview in file[:4096]
    for size in (4096, len(file) // 2):
        assert refusal(file[:size]).reason == Reason.TRUNCATED
    np.testing.assert_array_equal(read(file), np.asarray(Image.open(io.BytesIO(file))))


def test_a_damaged_file_is_malformed() -> None:
    file = bytearray(saved(Image.fromarray(COLOURS), "PNG"))
    file[12:16] = b"IHDX"
    assert refusal(bytes(file)).reason == Reason.MALFORMED


# What follows is fine but for something that no pixel depends on.

BOMB = zlib.compress(bytes(64 << 20), 9)
TEXTS = {
    "a compressed text that inflates to 64 MB": chunk(b"zTXt", b"key\0\0" + BOMB),
    "an international text that does": chunk(b"iTXt", b"key\0\1\0\0\0" + BOMB),
    "a colour profile that does": chunk(b"iCCP", b"key\0\0" + BOMB),
    "a text with a wrong checksum": chunk(b"tEXt", b"key\0value")[:-1] + b"?",
    "a private chunk of 8 MB": chunk(b"prIv", bytes(8 << 20)),
    "EXIF of 8 MB": chunk(b"eXIf", b"II*\0\x08\0\0\0" + b"\xff" * (8 << 20)),
    "an animation of no frames": chunk(b"acTL", bytes(8)),
}


@pytest.mark.parametrize("extra", TEXTS.values(), ids=TEXTS.keys())
def test_a_png_with_hostile_metadata_is_read_all_the_same(extra: bytes) -> None:
    raw = b"".join(b"\0" + row.tobytes() for row in COLOURS)
    np.testing.assert_array_equal(read(png(9, 6, raw, colour=2, extra=extra)), COLOURS)
    palette = chunk(b"PLTE", b"\xfa\0\0" + b"\0\x78\x3c")
    assert read(png(2, 1, b"\0\0\x01", colour=3, extra=extra + palette))[0].tolist() == [
        [250, 0, 0],
        [0, 120, 60],
    ]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the decoders of JPEG and GIF are given, never a megabyte: they would take minutes for some."""
    given: list[bytes] = []
    decode, open_pillow = imagecodecs.jpeg8_decode, gif.open_pillow

    def note(data: bytes) -> None:
        assert len(data) < 1_000_000
        given.append(data)

    def noted_decode(data: bytes) -> np.ndarray:
        note(data)
        return decode(data)

    def noted_open(stream: io.BytesIO, kind: PillowFormat) -> Image.Image:
        note(stream.getvalue())
        return open_pillow(stream, kind)

    monkeypatch.setattr(imagecodecs, "jpeg8_decode", noted_decode)
    for reader in (jpeg, gif):
        monkeypatch.setattr(reader, "open_pillow", noted_open)
    return given


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_jpeg_with_hostile_metadata_is_read_all_the_same(mode: str, decoded: list[bytes]) -> None:
    plain = saved(Image.fromarray(COLOURS).convert(mode), "JPEG")
    directory = struct.pack("<H", 5000) + struct.pack("<HHLL", 0x9286, 7, 60000, 0) * 5000
    exif = b"Exif\0\0II*\0\x08\0\0\0" + directory
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    comment = b"\xff\xfe\xff\xff" + bytes(0xFFFD)
    # One that copied what is left at each segment would take minutes.
    metadata = b"\xff\xfe\0\2" * 18_000 + segment * 800 + comment * 100
    expected = read(plain)
    # One EXIF has 5000 entries, all of them four millions.
    with at_most(calls=1_000_000):
        np.testing.assert_array_equal(read(plain[:2] + metadata + plain[2:]), expected)
    assert decoded == [decoded[0]] * 2


def test_a_gif_with_a_comment_of_megabytes_is_drawn_without_it(decoded: list[bytes]) -> None:
    plain = saved(Image.fromarray(GREY), "GIF")
    # One that copied what is left at each of its blocks would take minutes.
    comment = b"!\xfe" + (b"\xff" + b"x" * 255) * 100_000 + b"\0"
    place = 13 + (3 << (plain[10] & 7) + 1)  # after the palette
    np.testing.assert_array_equal(read(plain[:place] + comment + plain[place:]), as_rgb(GREY))
    assert decoded == [plain]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_what_follows_a_picture_does_not_matter(kind: str) -> None:
    file = saved(Image.fromarray(COLOURS), kind)
    np.testing.assert_array_equal(read(file + b"\xff\xd8\xff!," * 5000), read(file))


@pytest.mark.parametrize("depth", [8, 16])
def test_a_png_without_its_last_chunk_is_whole(depth: int) -> None:
    file = deep_png(COLOURS.astype(np.uint16)) if depth == 16 else saved(Image.fromarray(COLOURS), "PNG")
    np.testing.assert_array_equal(read(file[:-12]), read(file))


@pytest.mark.parametrize(("depth", "colour"), [(1, 0), (8, 0), (8, 3), (16, 0)])
def test_a_png_with_fewer_rows_than_it_says_is_malformed(depth: int, colour: int) -> None:
    row = b"\0" + b"\x01" * max(1, 4 * depth // 8)
    palette = chunk(b"PLTE", b"\xfa\0\0" + b"\0\x78\x3c") if colour == 3 else b""
    assert refusal(png(4, 5, row * 4, depth, colour, palette)).reason == Reason.MALFORMED


def test_a_palette_png_without_a_palette_is_malformed() -> None:
    assert refusal(png(2, 1, b"\0\0\x01", colour=3)).reason == Reason.MALFORMED


def test_a_jpeg_of_fewer_bytes_than_its_size_needs_is_malformed() -> None:
    file = bytearray(saved(Image.fromarray(COLOURS), "JPEG"))
    place = file.index(b"\xff\xc0") + 5
    file[place : place + 4] = struct.pack(">HH", 9000, 9000)
    assert refusal(bytes(file)).reason == Reason.MALFORMED


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "JPEG"])
def test_a_picture_without_rows_is_refused(kind: str) -> None:
    file = bytearray(saved(Image.fromarray(COLOURS), kind, **({"lossless": True} if kind == "WEBP" else {})))
    if kind == "PNG":
        file = bytearray(png(9, 0, b""))
    elif kind == "JPEG":
        place = file.index(b"\xff\xc0") + 5
        file[place : place + 2] = b"\0\0"
    elif kind == "WEBP":
        del file[12:]
    else:
        places = {"GIF": (6, 10), "BMP": (18, 26)}[kind]
        file[slice(*places)] = bytes(places[1] - places[0])
        if kind == "GIF":
            place = 13 + (3 << (file[10] & 7) + 1)  # after the palette
            file[place + 1 : place + 9] = bytes(8)
    assert refusal(bytes(file)).reason in (Reason.MALFORMED, Reason.TRUNCATED)


def test_a_jpeg_of_12_bits_is_scaled_by_its_real_range() -> None:
    values = np.repeat(np.arange(0, 4096, 64, dtype=np.uint16)[np.newaxis], 16, axis=0)
    file = imagecodecs.jpeg8_encode(values, level=100, bitspersample=12)
    got = read(file)[..., 0].astype(int)
    assert np.abs(got - np.rint(values / 4032 * 255)).max() <= 1
    assert (got.min(), got.max()) == (0, 255)
    assert refusal(file[: len(file) // 2]).reason == Reason.TRUNCATED


def test_a_jpeg_ls_file_is_an_unsupported_codec() -> None:
    assert refusal(imagecodecs.jpegls_encode(GREY)).reason == Reason.UNSUPPORTED_CODEC


def tiny_gif(count: int, width: int, height: int) -> bytes:
    """Return a GIF of many frames, each of one pixel."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    one = b"," + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return screen + one * count + b";"


def animated(kind: str, count: int) -> bytes:
    """Return an animation of 20 x 20 pixels, a line moving right by one pixel a frame."""
    still = np.zeros((20, 20, 3), dtype=np.uint8)
    still[:, 0] = (250, 10, 10)
    images = [Image.fromarray(np.roll(still, frame, axis=1)) for frame in range(count)]
    options = {"lossless": True} if kind == "WEBP" else {}
    return saved(images[0], kind, save_all=True, append_images=images[1:], **options)


def with_chunk(file: bytes, kind: bytes, data: bytes) -> bytes:
    """Return the PNG file with other data of the same length in the first chunk of its kind."""
    start = file.index(kind) - 4
    return file[:start] + chunk(kind, data) + file[start + 12 + len(data) :]


@pytest.mark.parametrize(
    ("count", "width", "height"), [(3_000_000, 2, 1), (20_000, 200, 200), (2, 5000, 5000)]
)
def test_a_gif_of_too_much_is_too_large_before_it_is_drawn(
    count: int, width: int, height: int, decoded: list[bytes]
) -> None:
    # At most 30,001 frames tell.
    with pytest.raises(Unreadable) as caught, at_most(calls=2_000_000):
        open_image(tiny_gif(count, width, height))
    assert caught.value.reason == Reason.TOO_LARGE
    assert decoded == []


def test_an_animated_png_or_webp_of_too_much_is_too_large_before_it_is_drawn() -> None:
    png_file, webp = animated("PNG", 3), bytearray(animated("WEBP", 3))
    header = struct.pack(">LLBBBBB", 5000, 5000, 8, 2, 0, 0, 0)
    webp[24:30] = (4999).to_bytes(3, "little") * 2
    for file in (
        with_chunk(png_file, b"IHDR", header),
        with_chunk(png_file, b"acTL", struct.pack(">LL", 2**31 - 1, 0)),
        bytes(webp),
    ):
        with pytest.raises(Unreadable) as caught:
            open_image(file)
        assert caught.value.reason == Reason.TOO_LARGE


def test_an_animation_with_fewer_frames_than_it_declares_is_refused() -> None:
    file = animated("PNG", 3)
    assert refusal(with_chunk(file, b"acTL", struct.pack(">LL", 4, 0))).reason == Reason.MALFORMED
    assert refusal(file[: len(file) * 2 // 3]).reason == Reason.TRUNCATED


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_frames_read_in_order_are_drawn_once(kind: str) -> None:
    # Each anew would be a million frames.
    with open_image(animated(kind, 1500)) as opened, at_most(calls=2_000_000):
        lines = [int(opened.read(frame).pixels[0, :, 0].argmax()) for frame in range(1500)]
    assert lines == [frame % 20 for frame in range(1500)]


def test_a_frame_is_read_after_one_that_could_not_be() -> None:
    file = bytearray(animated("PNG", 3))
    file[file.rindex(b"fdAT") + 8] ^= 0xFF  # the last frame is no deflated data
    with open_image(bytes(file)) as opened:
        for _ in range(2):
            with pytest.raises(Unreadable):
                opened.read(2)
        assert opened.read(1).pixels[0, 1].tolist() == [250, 10, 10]
