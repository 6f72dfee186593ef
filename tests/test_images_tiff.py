"""TIFF: layouts, depths and compressions to upright RGB; which of its directories are pages."""

import contextlib
import io
import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pictures import as_rgb, read, refusal, saved
from PIL import Image
from work import at_most

from medsiglip_search import images
from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images import open_image
from medsiglip_search.windows import Window
from tests.tiff_files import Elsewhere, Page, packed_12_bit, page, tiff

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

COLOURS = np.zeros((40, 60, 3), dtype=np.uint8)
COLOURS[:, :20], COLOURS[:, 20:40], COLOURS[:20, 40:] = (250, 0, 0), (0, 120, 60), (9, 9, 200)
GREY = np.arange(54, dtype=np.uint8).reshape(6, 9) * 4


class Counting(io.BytesIO):
    """A file that notes how much is read of it at a time."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        super().__init__(data)
        self._sizes = sizes

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._sizes.append(len(data))
        return data


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much is read, each time, of the files that are opened."""
    sizes: list[int] = []
    monkeypatch.setattr(images, "open_source", lambda source: Counting(source, sizes))
    return sizes


def tiled(pixels: np.ndarray, size: int, compression: int = 1, **tags: Any) -> Page:
    """Return a page of tiles, each of size x size pixels, of zeros beyond the page."""
    rows, columns = pixels.shape[:2]
    padded = np.zeros((-(-rows // size) * size, -(-columns // size) * size, *pixels.shape[2:]), pixels.dtype)
    padded[:rows, :columns] = pixels
    this = page(pixels)
    del this.tags[278]
    this.tags |= {322: size, 323: size, 259: compression}
    this.pieces = [
        _compressed(padded[top : top + size, left : left + size], compression)
        for top in range(0, rows, size)
        for left in range(0, columns, size)
    ]
    return this


def _compressed(tile: np.ndarray, compression: int) -> bytes:
    if compression == 7:
        return imagecodecs.jpeg8_encode(np.ascontiguousarray(tile), level=95)
    return zlib.compress(tile.tobytes()) if compression == 8 else tile.tobytes()


@pytest.mark.parametrize(
    "compression", [None, "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "lzma", "zstd"]
)
def test_losslessly_compressed_tiffs_are_read(compression: str | None) -> None:
    np.testing.assert_array_equal(
        read(saved(Image.fromarray(COLOURS), "TIFF", compression=compression)), COLOURS
    )


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax_is_black_and_white(compression: str) -> None:
    bits = GREY > 100
    file = saved(Image.fromarray(bits), "TIFF", compression=compression)
    np.testing.assert_array_equal(read(file), as_rgb(bits * np.uint8(255)))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planes_byte_orders_and_bigtiff_make_no_difference(
    big: bool, order: str, planar: bool, dtype: type
) -> None:
    full = COLOURS.copy()
    full[0, 0] = 255  # so that the real range is that of 8 bits
    pixels = full if dtype == np.uint8 else full.astype(np.uint16) * 257
    np.testing.assert_array_equal(read(tiff(page(pixels, order, planar), order=order, big=big)), full)


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("pixels", [COLOURS, COLOURS[..., 1]], ids=["colour", "grey"])
def test_tiles_are_put_together(pixels: np.ndarray, compression: int) -> None:
    expected = pixels if pixels.ndim == 3 else as_rgb(pixels)
    np.testing.assert_array_equal(read(tiff(tiled(pixels, 16, compression))), expected)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_the_last_strip_may_be_shorter_than_the_others(compression: str | None) -> None:
    file = saved(Image.fromarray(COLOURS), "TIFF", compression=compression, tiffinfo={278: 7})
    np.testing.assert_array_equal(read(file), COLOURS)


@pytest.mark.parametrize("old", [False, True])
def test_jpeg_in_tiff_of_either_kind_is_read(old: bool) -> None:
    if old:
        file = io.BytesIO()
        Image.fromarray(COLOURS).save(file, "JPEG", quality=95)
        jpeg = file.getvalue()
        this = page(COLOURS, tags={259: 6, 262: 6, 530: [2, 2], 513: 8, 514: len(jpeg)})
        this.pieces = [jpeg]
    else:
        this = tiled(COLOURS, 16, compression=7)
        this.tags |= {262: 6, 530: [2, 2]}
    inside = np.abs(read(tiff(this)).astype(int) - COLOURS)[5:15, 5:15]
    assert inside.max() <= 4


@pytest.mark.parametrize("subsampling", [[1, 1], None])
def test_ycbcr_becomes_rgb(subsampling: list[int] | None) -> None:
    ycbcr = np.asarray(Image.fromarray(COLOURS).convert("YCbCr"))
    if subsampling is None:  # Pillow's own
        file = saved(Image.fromarray(COLOURS).convert("YCbCr"), "TIFF")
    else:
        file = tiff(page(ycbcr, tags={262: 6, 530: subsampling}))
    assert np.abs(read(file).astype(int) - COLOURS).max() <= 4


def test_cmyk_and_palettes_become_rgb() -> None:
    assert (
        np.abs(read(saved(Image.fromarray(COLOURS).convert("CMYK"), "TIFF")).astype(int) - COLOURS).max() <= 1
    )
    palette = Image.fromarray(COLOURS).quantize(8)
    np.testing.assert_array_equal(read(saved(palette, "TIFF")), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("dtype", ["u2", "i1", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_deep_grey_is_scaled_by_its_real_range(dtype: str) -> None:
    low, high = (-100, 100) if np.dtype(dtype).kind in "if" else (100, 300)
    values = np.array([[low, low + 40, high]]).astype(dtype)
    assert read(tiff(page(values)))[0].tolist() == [[0] * 3, [51] * 3, [255] * 3]
    with open_image(tiff(page(values))) as file:
        assert file.read(window=Window(low + 40, high + 100)).pixels[0, :2, 0].tolist() == [0, 0]


def test_packed_12_bit_grey_is_scaled_by_its_real_range() -> None:
    values = np.array([[300, 1040, 2520, 4000]] * 2, dtype=np.uint16)
    file = tiff(packed_12_bit(values))
    assert read(file)[0].tolist() == [[0] * 3, [51] * 3, [153] * 3, [255] * 3]
    with open_image(file) as opened:
        window = Window(1040, 2520)
        assert opened.read(window=window).pixels[0, :, 0].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("sample_format", [5, 6])
def test_complex_numbers_are_an_unsupported_codec(sample_format: int) -> None:
    file = tiff(page(GREY.astype(np.uint64), tags={339: sample_format}))
    assert refusal(file).reason == Reason.UNSUPPORTED_CODEC


def test_the_whole_width_of_the_numbers_is_kept() -> None:
    for dtype in (np.uint16, np.int16, np.uint32, np.int32):
        ends = np.iinfo(dtype)
        assert read(tiff(page(np.array([[ends.min, ends.max]], dtype))))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_a_tiff_whose_white_is_zero_is_inverted_once(dtype: str) -> None:
    values = np.array([[0, 51, 255]], dtype=dtype)
    assert read(tiff(page(values, tags={262: 0})))[0, :, 0].tolist() == [255, 204, 0]


def test_not_a_number_does_not_spoil_the_range() -> None:
    values = np.array([[0, np.nan, 50, 100, np.inf]], dtype=np.float32)
    assert read(tiff(page(values)))[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_alpha_is_applied_once_whether_or_not_the_colours_hold_it() -> None:
    pixels = np.array([[[1000, 500, 0, 65535], [500, 250, 0, 32768]]], dtype=np.uint16)
    premultiplied, plain = page(pixels, tags={338: 1}), page(pixels, tags={338: 2})
    assert read(tiff(premultiplied))[0].tolist() == [[255, 128, 0], [128, 64, 0]]
    assert read(tiff(plain))[0].tolist() == [[255, 128, 0], [64, 32, 0]]
    levels = np.array([[[200, 100, 0, 255], [100, 50, 0, 128]]], dtype=np.uint8)
    assert read(tiff(page(levels, tags={338: 1})))[0].tolist() == [[200, 100, 0], [100, 50, 0]]
    assert read(tiff(page(levels, tags={338: 2})))[0].tolist() == [[200, 100, 0], [50, 25, 0]]


def test_samples_that_are_neither_colour_nor_alpha_are_not_shown() -> None:
    pixels = np.zeros((1, 2, 5), dtype=np.uint8)
    pixels[0, :, :3] = (10, 20, 30), (40, 50, 60)
    pixels[0, :, 3:] = 99
    file = tiff(page(pixels, tags={338: [0, 0]}))
    assert read(file)[0].tolist() == [[10, 20, 30], [40, 50, 60]]
    grey = tiff(page(pixels, tags={262: 1, 338: [0] * 4}))
    assert read(grey)[0, :, 0].tolist() == [10, 40]


def test_pages_of_different_modes_and_sizes_are_frames() -> None:
    pages = [page(COLOURS), page(GREY[:3]), page(GREY.astype(np.uint16) * 9)]
    with open_image(tiff(*pages)) as opened:
        shapes = [opened.read(frame).pixels.shape for frame in (0, 1, 2)]
        assert shapes == [(40, 60, 3), (3, 9, 3), (6, 9, 3)]
        np.testing.assert_array_equal(opened.read(1).pixels, as_rgb(GREY[:3]))
        np.testing.assert_array_equal(opened.read(0).pixels, COLOURS)


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param({254: 1}, id="reduced copy"),
        pytest.param({254: 4}, id="mask"),
        pytest.param({254: 5}, id="mask of a reduced copy"),
        pytest.param({255: 2}, id="reduced copy, as it was marked before 1992"),
        pytest.param({254: 9}, id="Aperio's macro"),
        pytest.param({270: b"Aperio Image Library v12.0.5\r\nlabel 387x463"}, id="Aperio's label"),
        pytest.param({270: b"Aperio Image Library v12.0.5\r\nmacro 1280x431"}, id="Aperio's macro, unmarked"),
        pytest.param({270: b"Label_Image"}, id="Ventana's label"),
        pytest.param({270: b"Macro"}, id="Philips' macro"),
        pytest.param({270: b"<?xml?><D>\n<ImageType>Label</ImageType></D>"}, id="Akoya's label"),
        pytest.param({270: b"<?xml?><D>\n<ImageType>Overview</ImageType></D>"}, id="Akoya's overview"),
        pytest.param({285: b"label"}, id="page of this name"),
        pytest.param({285: b"Overview "}, id="page of this name, otherwise written"),
        pytest.param({65421: -1.0}, id="Hamamatsu's macro"),
        pytest.param({65421: -2.0}, id="Hamamatsu's map"),
    ],
)
def test_copies_masks_labels_and_macros_are_no_pages(tags: dict[int, Any]) -> None:
    other = page(GREY, tags=tags)
    with open_image(tiff(other, page(COLOURS), other)) as opened:
        assert opened.frame_count == 1
        np.testing.assert_array_equal(opened.read().pixels, COLOURS)
    assert refusal(tiff(other)).reason == Reason.LABEL_OR_LOCALIZER


@pytest.mark.parametrize(
    "tags",
    [
        {254: 0},
        {254: 2},
        {255: 1},
        {255: 3},
        {270: b"Macroscopic view"},
        {270: b"Labelled by two readers"},
        {270: b"Aperio Image Library v12.0.5\r\n4000x3000 -> 1024x768"},
        {65421: 20.0},
    ],
)
def test_other_pages_are_frames(tags: dict[int, Any]) -> None:
    np.testing.assert_array_equal(read(tiff(page(COLOURS, tags=tags))), COLOURS)


@pytest.mark.parametrize(
    "tags",
    [
        {270: b"Overview"},
        {270: b"scanner=9\ntype=label"},
        {270: b"Barcode"},
        {270: b"SlideLabel"},
        {270: b"slide_macro 1280x431"},
        {270: b"SLIDE LABEL"},
        {270: b'{"name": "label"}'},
        {285: b"Slide label"},
    ],
)
def test_a_word_for_labels_and_macros_counts_only_among_several_pages(tags: dict[int, Any]) -> None:
    named = page(COLOURS, tags=tags)
    np.testing.assert_array_equal(read(tiff(named, page(GREY, tags={254: 1}))), COLOURS)
    with open_image(tiff(page(GREY), named)) as opened:
        assert opened.frame_count == 1
        np.testing.assert_array_equal(opened.read().pixels, as_rgb(GREY))


@pytest.mark.parametrize(
    "tags",
    [
        {270: b"Macroscopic view"},
        {270: b"Labels of two readers"},
        {270: b"Left hand of a child, two views; the label in the corner was covered before the scan"},
        {270: b'<OME>\n<Image ID="Image:0" Name="slide"/>\n<Image ID="Image:1" Name="label"/>\n</OME>'},
        {270: b"<Description>\n<ImageType>FullResolution</ImageType>\n<Overview/>\n</Description>"},
        {285: b"Overviewer"},
    ],
)
def test_words_in_passing_do_not_lose_a_page_among_several(tags: dict[int, Any]) -> None:
    with open_image(tiff(page(COLOURS, tags=tags), page(GREY))) as opened:
        assert opened.frame_count == 2


@pytest.mark.parametrize("target", [0, 1])
def test_a_chain_of_pages_that_loops_ends_where_it_repeats(target: int) -> None:
    pages = [page(np.roll(COLOURS, shift, axis=1)) for shift in (0, 20, 40)]
    with open_image(tiff(*pages, last_points_to=target)) as opened:
        assert opened.frame_count == 3
        np.testing.assert_array_equal(opened.read(2).pixels, np.roll(COLOURS, 40, axis=1))


def test_a_chain_of_a_million_pages_is_too_large_before_all_are_read(bytes_read: list[int]) -> None:
    directories = b"".join(struct.pack("<HL", 0, 8 + 6 * (number + 1)) for number in range(1_000_000))
    assert refusal(b"II*\0\x08\0\0\0" + directories).reason == Reason.TOO_LARGE
    # The first 30,001 of them tell.
    assert sum(bytes_read) < len(directories) // 10


def test_directories_that_overlap_are_refused_before_all_are_read(bytes_read: list[int]) -> None:
    # Each begins four bytes after the one before, has 60,000 entries and points to the next.
    file = bytearray(b"II*\0\x08\0\0\0" + struct.pack("<HH", 60_000, 0) * 2000 + bytes(60_000 * 12))
    for number in range(1999):
        struct.pack_into("<L", file, 8 + 4 * number + 2 + 60_000 * 12, 8 + 4 * (number + 1))
    assert refusal(bytes(file)).reason == Reason.MALFORMED
    # All of them are 1.4 GB.
    assert sum(bytes_read) < 100_000_000


def test_a_chain_that_leaves_the_file_is_truncated() -> None:
    file = tiff(page(COLOURS), page(GREY))
    assert refusal(file[:-30]).reason == Reason.TRUNCATED


@pytest.mark.parametrize("big", [False, True])
def test_pixels_beyond_the_end_are_truncated(big: bool) -> None:
    this = page(COLOURS)
    this.tags |= {273: 10_000_000, 279: COLOURS.size}
    this.pieces = []
    assert refusal(tiff(this, big=big)).reason == Reason.TRUNCATED


def test_wrong_sizes_of_uncompressed_strips_do_not_matter() -> None:
    this = page(COLOURS)
    this.tags[279] = 1
    np.testing.assert_array_equal(read(tiff(this)), COLOURS)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({256: 60_000, 257: 60_000}, Reason.TOO_LARGE),
        ({257: 0}, Reason.MALFORMED),
        ({277: 60_000}, Reason.TRUNCATED),
        ({277: 600_000}, Reason.TOO_LARGE),
        ({278: 0}, Reason.MALFORMED),
        ({278: 1}, Reason.MALFORMED),
        ({259: 33003}, Reason.UNSUPPORTED_CODEC),
        ({258: [5, 6, 5]}, Reason.UNSUPPORTED_CODEC),
    ],
)
def test_a_page_that_says_what_cannot_be_is_refused(tags: dict[int, Any], reason: Reason) -> None:
    assert refusal(tiff(page(COLOURS, tags=tags))).reason == reason


def deflated(data: bytes, tags: dict[int, Any]) -> bytes:
    """Return a page in the size of COLOURS, whose one strip inflates to `data`."""
    this = page(COLOURS, tags={259: 8} | tags)
    this.pieces = [zlib.compress(data)]
    return tiff(this)


@pytest.mark.parametrize("tags", [{}, {262: 6, 530: [1, 1]}], ids=["RGB", "YCbCr"])
@pytest.mark.parametrize("share", [0.5, 0.999])
def test_a_deflated_strip_that_inflates_to_less_is_malformed(share: float, tags: dict[int, Any]) -> None:
    data = COLOURS.tobytes()
    assert refusal(deflated(data[: int(len(data) * share)], tags)).reason == Reason.MALFORMED


def test_a_deflated_tile_that_inflates_to_less_is_malformed() -> None:
    this = tiled(COLOURS, 16, compression=8)
    this.pieces[-1] = zlib.compress(b"\x09" * (3 * 16 * 16 - 1))
    assert refusal(tiff(this)).reason == Reason.MALFORMED


def test_a_deflated_strip_that_inflates_to_more_is_read_as_far_as_its_page_goes() -> None:
    np.testing.assert_array_equal(read(deflated(COLOURS.tobytes() + bytes(10**8), {})), COLOURS)


def test_a_jpeg_strip_smaller_than_its_page_is_malformed() -> None:
    for rows, columns in ((40, 50), (30, 60)):
        this = page(COLOURS, tags={259: 7, 262: 6})
        this.pieces = [imagecodecs.jpeg8_encode(np.ascontiguousarray(COLOURS[:rows, :columns]))]
        assert refusal(tiff(this)).reason == Reason.MALFORMED


def test_a_jpeg_strip_that_ends_early_is_malformed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    this = page(noise, tags={259: 7, 262: 6})
    jpeg = imagecodecs.jpeg8_encode(noise)
    this.pieces = [jpeg]
    read(tiff(this))
    this.tags[279] = len(jpeg) // 2
    assert refusal(tiff(this)).reason == Reason.MALFORMED


@pytest.mark.parametrize(
    "tags", [{277: 1}, {277: 2}, {277: 4}, {277: None}, {258: [16, 16, 16]}, {258: 8, 277: 1}, {284: 2}]
)
@pytest.mark.parametrize("compression", [1, 8])
def test_tags_that_contradict_one_another_never_make_half_a_picture(
    compression: int, tags: dict[int, Any]
) -> None:
    this = page(COLOURS)
    this.tags |= {259: compression} | tags
    this.tags = {tag: values for tag, values in this.tags.items() if values is not None}
    this.pieces = [zlib.compress(COLOURS.tobytes()) if compression == 8 else COLOURS.tobytes()]
    with contextlib.suppress(Unreadable):
        pixels = read(tiff(this))
        assert (pixels.shape, pixels.dtype) == (COLOURS.shape, np.uint8)


def test_tiles_larger_than_any_picture_are_refused() -> None:
    this = tiled(COLOURS, 64, compression=8)
    this.tags |= {322: 60_000, 323: 60_000}
    assert refusal(tiff(this)).reason == Reason.TOO_LARGE


def test_a_damaged_page_does_not_lose_the_others() -> None:
    with open_image(tiff(page(COLOURS, tags={257: 0}), page(GREY))) as opened:
        assert opened.frame_count == 2
        with pytest.raises(Unreadable):
            opened.read(0)
        np.testing.assert_array_equal(opened.read(1).pixels, as_rgb(GREY))


def test_metadata_that_no_pixel_depends_on_are_not_read(bytes_read: list[int]) -> None:
    pages = [page(COLOURS), Page({700: bytes(4 << 20), 254: 1})]
    overlapping = {tag: Elsewhere(offset=8, count=4 << 20) for tag in (700, *range(50_000, 51_000), 34675)}
    pages[0].tags |= overlapping
    np.testing.assert_array_equal(read(tiff(*pages)), COLOURS)
    assert COLOURS.nbytes < sum(bytes_read) < 200_000


def test_of_a_description_of_nothing_but_line_ends_only_the_first_are_searched(bytes_read: list[int]) -> None:
    file = tiff(page(COLOURS, tags={270: b"\n" * 1_000_000}))
    with at_most(calls=200_000):
        np.testing.assert_array_equal(read(file), COLOURS)
    assert COLOURS.nbytes < sum(bytes_read) < 200_000


def test_a_description_beyond_the_end_is_truncated() -> None:
    this = page(COLOURS, tags={270: Elsewhere(offset=10_000_000, count=100)})
    assert refusal(tiff(this)).reason == Reason.TRUNCATED
