"""Damaged, lying and unusual PNG, JPEG, TIFF, BMP, WebP and GIF files."""

import functools
import io
import itertools
import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np
from hostile_case import PATIENT, Case, Shown
from PIL import Image

from medsiglip_search.errors import Reason

GREY = np.arange(54, dtype=np.uint8).reshape(6, 9) * 4
SHADES = np.repeat(GREY[..., np.newaxis], 3, axis=-1)
"""What every file that still holds GREY must become."""
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
GIGABYTE = 2**30
RIGHT = Shown(size=(6, 9), pixels=SHADES)
SMALL = Shown(size=(6, 9))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def of_noise(kind: str, **options: Any) -> bytes:
    return saved(Image.fromarray(NOISE), kind, **options)


def animation(kind: str, count: int, **options: Any) -> bytes:
    """Return a file of so many tiny frames, each unlike the one before."""
    frames = [Image.fromarray(np.roll(GREY, turn, axis=1)) for turn in range(2)]
    rest = itertools.islice(itertools.cycle(reversed(frames)), count - 1)
    return saved(frames[0], kind, save_all=True, append_images=rest, duration=20, **options)


# --- PNG ---


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png(
    width: int = 9,
    height: int = 6,
    raw: bytes | None = None,
    *,
    depth: int = 8,
    colour: int = 0,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """Return a PNG; before, after: further chunks on either side of the pixels."""
    if raw is None:
        raw = b"".join(b"\0" + row.tobytes() for row in GREY)
    header = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(raw, 9))
    name = chunk(b"tEXt", b"Comment\0" + PATIENT.encode())
    body = chunk(b"IHDR", header) + name + before + pixels + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@functools.cache
def bomb(size: int = GIGABYTE) -> bytes:
    """Return zeros, compressed a thousand times."""
    deflater = zlib.compressobj(9)
    return b"".join(deflater.compress(bytes(2**20)) for _ in range(size // 2**20)) + deflater.flush()


def png_of_steps(side: int, **options: Any) -> bytes:
    """Return a PNG of few bytes and side x side pixels, its left half black and its right half white."""
    row = b"\0" + bytes(side // 2) + b"\xff" * (side // 2)
    return png(side, side, row * side, **options)


def png_cases() -> list[Case]:
    text, language = b"Comment\0\0", b"Comment\0\1\0\0\0"
    frames = chunk(b"acTL", struct.pack(">LL", 100_000, 0))
    control = chunk(b"fcTL", struct.pack(">LLLLLHHBB", 0, 9, 6, 0, 0, 1, 25, 0, 0))
    crc = png()
    return [
        Case("png_100_megapixels", lambda: png(10_000, 10_000, bytes(10_001) * 10_000),
             Reason.TOO_LARGE, 17),
        Case("png_60000_squared", lambda: png(60_000, 60_000, b""), Reason.TOO_LARGE, 17),
        Case("png_four_billion_squared", lambda: png(2**32 - 1, 2**32 - 1, b""), Reason.TOO_LARGE, 17),
        Case("png_88_megapixels", lambda: png_of_steps(9400),
             Shown(size=(9400, 9400)), 17),
        Case("png_80_megapixels_of_rgb",
             lambda: png(9000, 9000, (b"\0" + bytes(13_500) + b"\xff" * 13_500) * 9000,
                                                     colour=2),
             Shown(size=(9000, 9000)), 17),
        Case("png_80_megapixels_of_16_bit_grey",
             lambda: png(9000, 9000, (b"\0" + bytes(9000) + b"\xff" * 9000) * 9000, depth=16),
             Shown(size=(9000, 9000)), 17),
        Case("png_1_megapixel_that_inflates_to_256",
             lambda: png_with_pixels(bomb(GIGABYTE // 4), 1000, 1000), Reason.BLANK_IMAGE, 17),
        Case("png_text_bomb", lambda: png(before=chunk(b"zTXt", text + bomb())), RIGHT, 17),
        Case("png_text_bomb_after_the_pixels", lambda: png(after=chunk(b"zTXt", text + bomb())), RIGHT, 17),
        Case("png_international_text_bomb", lambda: png(before=chunk(b"iTXt", language + bomb())),
             RIGHT, 17),
        Case("png_many_texts",
             lambda: png(before=chunk(b"zTXt", text + zlib.compress(bytes(10**6))) * 100), RIGHT, 17),
        Case("png_colour_profile_bomb", lambda: png(before=chunk(b"iCCP", b"sRGB\0\0" + bomb())),
             RIGHT, 17),
        Case("png_colour_profile_of_garbage",
             lambda: png(before=chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(b"garbage" * 9))), RIGHT, 17),
        Case("png_wrong_checksum_of_the_header", lambda: crc[:29] + b"\0\0\0\0" + crc[33:],
             Reason.MALFORMED, 17),
        Case("png_wrong_checksum_of_the_pixels", lambda: crc[:-16] + b"\0\0\0\0" + crc[-12:],
             Reason.MALFORMED, 17),
        Case("png_without_pixels", lambda: crc[:33] + chunk(b"IEND", b""), Reason.MALFORMED, 17),
        Case("png_without_a_header", lambda: crc[:8] + crc[33:], Reason.MALFORMED, 17),
        Case("png_of_too_few_rows", lambda: png(height=60), Reason.MALFORMED, 17),
        Case("png_of_too_many_rows", lambda: png(raw=b"".join(b"\0" + row.tobytes() for row in GREY) * 50),
             RIGHT, 17),
        Case("png_of_no_width", lambda: png(width=0), Reason.MALFORMED, 17),
        Case("png_of_17_bits", lambda: png(depth=17), Reason.MALFORMED, 16),
        Case("png_of_colour_type_5", lambda: png(colour=5), Reason.MALFORMED, 16),
        Case("png_palette_without_entries", lambda: png(colour=3), Reason.MALFORMED, 16),
        Case("png_chunk_of_two_gigabytes",
             lambda: png(before=struct.pack(">L", 2**31 - 1) + b"zTXt" + b"x" * 40), Reason.TRUNCATED, 17),
        Case("png_of_a_million_empty_chunks", lambda: png(before=chunk(b"teSt", b"") * 1_000_000),
             Reason.MALFORMED, 17),
        Case("png_says_100000_frames_and_has_one", lambda: png(before=frames + control),
             Reason.TOO_LARGE, 14),
        Case("png_says_3_frames_and_has_one",
             lambda: png(before=chunk(b"acTL", struct.pack(">LL", 3, 0)) + control),
             Reason.MALFORMED, 14),
        Case("png_of_huge_exif",
             lambda: png(before=chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 10**6)),
             RIGHT, 17),
        Case("png_trailing_garbage", lambda: png() + b"Findings: none. " * 1000, RIGHT, 17),
        Case("png_cut", lambda: of_noise("PNG")[:5000], Reason.TRUNCATED, 17),
    ]  # fmt: skip


def png_with_pixels(data: bytes, width: int, height: int) -> bytes:
    header = struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# --- JPEG ---


def jpeg_of_size(rows: int, columns: int) -> bytes:
    data = of_noise("JPEG")
    start = data.index(b"\xff\xc0")
    return data[: start + 5] + struct.pack(">HH", rows, columns) + data[start + 9 :]


def jpeg_of_many_scans(count: int) -> bytes:
    """Return a progressive JPEG of 9 megapixels whose last scan comes again and again."""
    pixels = np.zeros((3000, 3000), np.uint8)
    pixels[:8, :8] = 255
    data = saved(Image.fromarray(pixels), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    return data[:-2] + data[scan:-2] * count + b"\xff\xd9"


def jpeg_cases() -> list[Case]:
    whole = of_noise("JPEG", comment=PATIENT)
    shown = Shown(size=(64, 64))
    exif = b"Exif\0\0II*\0\x08\0\0\0"
    # One entry of tag Orientation; the next directory is this one again.
    looping = exif + b"\x01\0" + struct.pack("<HHLHH", 0x0112, 3, 1, 1, 0) + struct.pack("<L", 8)
    cases = [
        Case("jpeg_65500_squared", lambda: jpeg_of_size(65500, 65500), Reason.TOO_LARGE, 17),
        Case("jpeg_9000_squared_of_few_bytes", lambda: jpeg_of_size(9000, 9000), Reason.MALFORMED, 17),
        Case("jpeg_of_no_rows", lambda: jpeg_of_size(0, 64), Reason.MALFORMED, 17),
        Case("jpeg_without_a_frame", lambda: whole[: whole.index(b"\xff\xc0")] + b"\xff\xd9",
             Reason.TRUNCATED, 17),
        Case("jpeg_without_tables",
             lambda: whole[: whole.index(b"\xff\xdb")] + whole[whole.index(b"\xff\xc0") :],
             Reason.MALFORMED, 17),
        Case("jpeg_of_text", lambda: b"\xff\xd8\xff" + b"Findings: none. " * 50 + b"\xff\xd9",
             Reason.TRUNCATED, 17),
        Case("jpeg_of_endless_fill", lambda: b"\xff\xd8" + b"\xff" * 2_000_000 + b"\xff\xd9",
             Reason.TRUNCATED, 17),
        Case("jpeg_of_12_bits", lambda: imagecodecs.jpeg8_encode(NOISE.astype(np.uint16), bitspersample=12),
             shown, 17),
        Case("jpeg_lossless", lambda: imagecodecs.ljpeg_encode(NOISE[..., 0].copy()), shown, 17),
        Case("jpeg_of_cmyk", lambda: saved(Image.fromarray(NOISE).convert("CMYK"), "JPEG"), shown, 16),
        Case("jpeg_whose_exif_loops", lambda: of_noise("JPEG", exif=looping), shown, 17),
        Case("jpeg_of_orientation_99",
             lambda: of_noise("JPEG", exif=exif + b"\x01\0" + struct.pack("<HHLHHL", 0x0112, 3, 1, 99, 0, 0)),
             shown, 16),
        Case("jpeg_of_1000_comments",
             lambda: whole[:2] + (b"\xff\xfe\xff\xff" + b"x" * 65533) * 1000 + whole[2:], shown, 17),
        Case("jpeg_of_100_scans_more", lambda: jpeg_of_many_scans(100), Shown(size=(3000, 3000)), 17),
        Case("jpeg_trailing_garbage", lambda: whole + bytes(5000), shown, 17),
        Case("jpeg_ls_as_a_file", lambda: imagecodecs.jpegls_encode(NOISE[..., 0].copy()),
             Reason.UNSUPPORTED_CODEC, 17),
    ]  # fmt: skip
    for name, share in (("early", 0.1), ("half", 0.5), ("late", 0.95)):
        end = int(len(whole) * share)
        cases.append(
            Case(f"jpeg_cut_{name}", functools.partial(whole.__getitem__, slice(end)), Reason.TRUNCATED, 17)
        )
    return cases


# --- TIFF ---


def tiff(
    tags: dict[int, tuple[int, int, int]] | None = None,
    *,
    following: int = 0,
    data: bytes = GREY.tobytes(),
    tail: bytes = b"",
) -> bytes:
    """Return a TIFF of GREY in one strip.

    tags: type, count and value that replace those of a tag, or are added to them.
    following: offset of the next directory. tail: what stands after the pixels.
    """
    rows, columns = GREY.shape
    entries = {
        256: (4, 1, columns), 257: (4, 1, rows), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1),
        273: (4, 1, 0), 277: (3, 1, 1), 278: (4, 1, rows), 279: (4, 1, len(data)), **(tags or {}),
    }  # fmt: skip
    start = 8 + 2 + 12 * len(entries) + 4
    if entries[273][2] == 0:
        entries[273] = (4, 1, start)
    directory = b"".join(struct.pack("<HHLL", tag, *entry) for tag, entry in sorted(entries.items()))
    head = b"II*\0" + struct.pack("<LH", 8, len(entries))
    return head + directory + struct.pack("<L", following) + data + tail


def tiff_chain(count: int) -> bytes:
    """Return a TIFF whose first page is followed by so many directories of one tag."""
    first = tiff()
    start = len(first)
    size = 2 + 12 + 4
    linked = tiff(following=start)
    entry = b"\x01\0" + struct.pack("<HHLL", 254, 4, 1, 0)
    rest = b"".join(entry + struct.pack("<L", start + size * place) for place in range(1, count))
    return linked + rest + entry + struct.pack("<L", 0)


def big_tiff(offset: int) -> bytes:
    return b"II+\0\x08\0\0\0" + struct.pack("<Q", offset) + bytes(100)


def tiff_cases() -> list[Case]:
    deflated = {259: (3, 1, 8)}
    side = {256: (4, 1, 9000), 257: (4, 1, 9000), 278: (4, 1, 9000)}
    lying_jpeg = jpeg_of_size(65500, 65500)
    jpeg_tags = {256: (4, 1, 64), 257: (4, 1, 64), 258: (3, 1, 8), 259: (3, 1, 7), 262: (3, 1, 6),
                 277: (3, 1, 3), 278: (4, 1, 64)}  # fmt: skip
    tiles = {
        259: (3, 1, 8),
        322: (4, 1, 2**31 - 16),
        323: (4, 1, 2**31 - 16),
        324: (4, 1, 8),
        325: (4, 1, 54),
    }
    return [
        Case("tiff", tiff, RIGHT, 16),
        Case("tiff_directory_followed_by_itself", lambda: tiff(following=8), RIGHT, 17),
        Case("tiff_two_directories_in_a_circle",
             lambda: tiff(following=len(tiff()),
                          tail=b"\x01\0" + struct.pack("<HHLL", 254, 4, 1, 0) + struct.pack("<L", 8)),
             Reason.MALFORMED, 17),
        Case("tiff_chain_of_200000_directories", lambda: tiff_chain(200_000), Reason.TOO_LARGE, 17),
        Case("tiff_directory_beyond_the_end", lambda: b"II*\0" + struct.pack("<L", 2**31) + bytes(100),
             Reason.TRUNCATED, 17),
        Case("tiff_next_directory_beyond_the_end", lambda: tiff(following=2**31), Reason.TRUNCATED, 17),
        Case("tiff_strip_of_four_gigabytes", lambda: tiff({279: (4, 1, 2**32 - 1)}), RIGHT, 17),
        Case("tiff_strip_beyond_the_end", lambda: tiff({273: (4, 1, 2**31)}), Reason.TRUNCATED, 17),
        Case("tiff_deflated_strip_of_four_gigabytes",
             lambda: tiff({**deflated, 279: (4, 1, 2**32 - 1)}, data=zlib.compress(GREY.tobytes())),
             Reason.TOO_LARGE, 17),
        Case("tiff_four_billion_squared", lambda: tiff({256: (4, 1, 2**32 - 1), 257: (4, 1, 2**32 - 1)}),
             Reason.TOO_LARGE, 17),
        Case("tiff_60000_squared", lambda: tiff({256: (4, 1, 60000), 257: (4, 1, 60000)}),
             Reason.TOO_LARGE, 17),
        Case("tiff_9000_squared_of_few_bytes", lambda: tiff(side), Reason.TRUNCATED, 17),
        Case("tiff_9000_squared_deflated_of_few_bytes",
             lambda: tiff({**deflated, **side}, data=zlib.compress(GREY.tobytes())), Reason.MALFORMED, 17),
        Case("tiff_deflate_bomb", lambda: tiff(deflated, data=bomb()), Reason.BLANK_IMAGE, 17),
        Case("tiff_strips_of_a_gigabyte_of_numbers", lambda: tiff({273: (4, 2**28, 8), 279: (4, 2**28, 8)}),
             Reason.TRUNCATED, 17),
        Case("tiff_tag_of_four_gigabytes", lambda: tiff({270: (2, 2**32 - 1, 8)}), Reason.TRUNCATED, 17),
        Case("tiff_65535_tags_in_a_short_file", lambda: b"II*\0\x08\0\0\0\xff\xff" + bytes(100),
             Reason.TRUNCATED, 17),
        Case("tiff_of_no_rows_in_a_strip", lambda: tiff({278: (4, 1, 0)}), Reason.MALFORMED, 17),
        Case("tiff_of_65535_samples", lambda: tiff({277: (3, 1, 65535)}), Reason.TRUNCATED, 17),
        Case("tiff_of_3_bits", lambda: tiff({258: (3, 1, 3)}), Reason.UNSUPPORTED_CODEC, 16),
        Case("tiff_of_an_unknown_compression", lambda: tiff({259: (3, 1, 65000)}),
             Reason.UNSUPPORTED_CODEC, 17),
        Case("tiff_of_damaged_lzw", lambda: tiff({259: (3, 1, 5)}), Reason.MALFORMED, 17),
        Case("tiff_tiles_of_two_billion_squared", lambda: tiff(tiles), Reason.TOO_LARGE, 17),
        Case("tiff_jpeg_of_another_size",
             lambda: tiff({**jpeg_tags, 279: (4, 1, len(lying_jpeg))}, data=lying_jpeg),
             Reason.MALFORMED, 17),
        Case("tiff_of_no_tags", lambda: b"II*\0\x08\0\0\0\0\0\0\0\0\0", Reason.MALFORMED, 17),
        Case("tiff_of_a_header_alone", lambda: b"II*\0", Reason.TRUNCATED, 17),
        Case("tiff_exif_that_points_to_itself", lambda: tiff({34665: (4, 1, 8)}), RIGHT, 17),
        Case("big_tiff_directory_beyond_everything", lambda: big_tiff(2**63 + 5), Reason.TRUNCATED, 17),
        Case("big_tiff_of_a_header_alone", lambda: big_tiff(0)[:9], Reason.TRUNCATED, 17),
    ]  # fmt: skip


# --- BMP, WebP, GIF ---


def bmp(
    width: int = 9,
    height: int = 6,
    *,
    bits: int = 8,
    compression: int = 0,
    colours: int = 256,
    offset: int = 54 + 1024,
    data: bytes | None = None,
) -> bytes:
    if data is None:
        data = np.pad(GREY[::-1], ((0, 0), (0, 3))).tobytes()
    greys = b"".join(bytes([level] * 3) + b"\0" for level in range(256))
    size = 54 + len(greys) + len(data)
    info = struct.pack("<LllHHLLllLL", 40, width, height, 1, bits, compression, len(data), 0, 0, colours, 0)
    return b"BM" + struct.pack("<LLL", size, 0, offset) + info + greys + data


def bmp_cases() -> list[Case]:
    turned = Shown(size=(6, 9), pixels=SHADES[::-1])
    runs = b"\xff\0" * 2_000_000
    return [
        Case("bmp", bmp, RIGHT, 16),
        Case("bmp_of_negative_height", lambda: bmp(height=-6), turned, 16),
        Case("bmp_of_huge_height", lambda: bmp(height=2**31 - 1), Reason.TOO_LARGE, 17),
        Case("bmp_of_the_least_height", lambda: bmp(height=-(2**31)), Reason.TOO_LARGE, 17),
        Case("bmp_of_negative_width", lambda: bmp(width=-9), Reason.TOO_LARGE, 17),
        Case("bmp_of_no_width", lambda: bmp(width=0), Reason.MALFORMED, 17),
        Case("bmp_60000_squared", lambda: bmp(60000, 60000), Reason.TOO_LARGE, 17),
        Case("bmp_9000_squared_of_few_bytes", lambda: bmp(9000, 9000), Reason.MALFORMED, 17),
        Case("bmp_of_7_bits", lambda: bmp(bits=7), Reason.MALFORMED, 16),
        Case("bmp_of_0_bits", lambda: bmp(bits=0), Reason.MALFORMED, 16),
        Case("bmp_of_two_billion_colours", lambda: bmp(colours=2**31), Reason.MALFORMED, 17),
        Case("bmp_pixels_beyond_the_end", lambda: bmp(offset=2**31), Reason.MALFORMED, 17),
        Case("bmp_run_bomb", lambda: bmp(compression=1, data=runs), Reason.MALFORMED, 17),
        Case("bmp_9000_squared_in_runs", lambda: bmp(9000, 9000, compression=1, data=b"\xff\x07" * 100),
             Reason.MALFORMED, 17),
        Case("bmp_that_holds_a_jpeg", lambda: bmp(compression=4, data=of_noise("JPEG")),
             Reason.MALFORMED, 16),
        Case("bmp_cut", lambda: of_noise("BMP")[:5000], Reason.TRUNCATED, 17),
    ]  # fmt: skip


def webp_canvas(width: int, height: int) -> bytes:
    """Return an extended WebP whose canvas is of another size than its picture."""
    picture = of_noise("WEBP", lossless=True)[12:]
    canvas = (
        b"VP8X\x0a\0\0\0\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )
    body = b"WEBP" + canvas + picture
    return b"RIFF" + struct.pack("<L", len(body)) + body


def webp_of_size(width: int, height: int) -> bytes:
    """Return a lossless WebP whose header says another size (14 bits each)."""
    data = of_noise("WEBP", lossless=True)
    at = data.index(b"VP8L") + 9
    return data[:at] + ((width - 1) | (height - 1) << 14 | 1 << 28).to_bytes(4, "little") + data[at + 4 :]


def webp_cases() -> list[Case]:
    whole = of_noise("WEBP", lossless=True)
    return [
        Case("webp_whose_container_is_too_long", lambda: whole[:4] + struct.pack("<L", 2**31) + whole[8:],
             Reason.TRUNCATED, 17),
        Case("webp_whose_container_is_too_short", lambda: whole[:4] + struct.pack("<L", 100) + whole[8:],
             Reason.MALFORMED, 17),
        Case("webp_canvas_16384_squared", lambda: webp_canvas(16384, 16384), Reason.TOO_LARGE, 17),
        Case("webp_16384_squared", lambda: webp_of_size(16384, 16384), Reason.TOO_LARGE, 17),
        Case("webp_9000_squared_of_few_bytes", lambda: webp_of_size(9000, 9000), Reason.MALFORMED, 17),
        Case("webp_of_an_unknown_kind", lambda: whole[:12] + b"VP9 " + whole[16:], Reason.MALFORMED, 17),
        Case("webp_of_a_header_alone", lambda: whole[:12], Reason.MALFORMED, 17),
        Case("webp_of_2000_frames", lambda: animation("WEBP", 2000, lossless=True),
             Shown(frames=2000, size=(6, 9)), 8),
        Case("webp_cut", lambda: whole[:5000], Reason.TRUNCATED, 17),
    ]  # fmt: skip


def gif(
    screen: tuple[int, int] = (9, 6),
    frame: tuple[int, int, int, int] = (0, 0, 9, 6),
    *,
    data: bytes | None = None,
    count: int = 1,
    code_size: int = 8,
    end: bytes = b";",
) -> bytes:
    """Return a GIF of grey levels; frame: left, top, width and height, so many times."""
    if data is None:
        # 9-bit codes, cleared often enough that they stay so.
        codes = [code for row in GREY for code in (256, *row.tolist())] + [257]
        bits = sum(code << 9 * place for place, code in enumerate(codes))
        data = bits.to_bytes((9 * len(codes) + 7) // 8, "little")
    greys = b"".join(bytes([level] * 3) for level in range(256))
    blocks = b"".join(
        bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255)
    )
    one = b"," + struct.pack("<HHHH", *frame) + b"\0" + bytes([code_size]) + blocks + b"\0"
    return b"GIF89a" + struct.pack("<HH", *screen) + b"\xf7\0\0" + greys + one * count + end


def gif_cases() -> list[Case]:
    return [
        Case("gif", gif, RIGHT, 16),
        Case("gif_65535_squared", lambda: gif((65535, 65535)), Reason.TOO_LARGE, 17),
        Case("gif_frame_65535_squared", lambda: gif(frame=(0, 0, 65535, 65535)), Reason.TOO_LARGE, 17),
        Case("gif_9000_squared_of_few_bytes", lambda: gif((9000, 9000), (0, 0, 9000, 9000)), Reason.MALFORMED,
             17),
        Case("gif_frame_beside_the_screen", lambda: gif(frame=(60000, 60000, 9, 6)), Reason.TOO_LARGE, 17),
        Case("gif_of_no_frame", lambda: gif(count=0), Reason.MALFORMED, 17),
        Case("gif_of_code_size_255", lambda: gif(code_size=255), Reason.MALFORMED, 17),
        Case("gif_of_no_screen", lambda: gif((0, 0), (0, 0, 0, 0)), Reason.MALFORMED, 17),
        Case("gif_of_1000_frames", lambda: animation("GIF", 1000), Shown(frames=1000, size=(6, 9)), 8),
        Case("gif_of_100000_equal_frames", lambda: gif(count=100_000), Reason.TOO_LARGE, 17),
        Case("gif_of_1000_frames_of_16_megapixels",
             lambda: gif((4000, 4000), (0, 0, 9, 6), count=1000), Reason.TOO_LARGE, 17),
        Case("gif_without_an_end", lambda: gif(end=b""), RIGHT, 17),
        Case("gif_cut", lambda: of_noise("GIF")[:3000], Reason.TRUNCATED, 17),
    ]  # fmt: skip


# --- Neither DICOM nor a picture ---


def other_cases() -> list[Case]:
    contents: dict[str, bytes] = {
        "empty": b"",
        "one_byte": b"\0",
        "131_zeros": bytes(131),
        "text": b"Findings: none. Doe^Jane\n" * 400,
        "html": b"<!DOCTYPE html><html><body>Doe^Jane</body></html>" * 20,
        "xml_that_expands": b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "a"><!ENTITY b "&a;">]><l>&b;</l>',
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="100000" height="100000"></svg>' * 20,
        "pdf": b"%PDF-1.7\n" + b"1 0 obj << /Title (Doe^Jane) >> endobj\n" * 40,
        "zip": b"PK\x03\x04" + bytes(2000),
        "gzip_bomb": b"\x1f\x8b\x08\0" + bytes(2000),
        "elf": b"\x7fELF\x02\x01\x01" + bytes(2000),
        "windows_program": b"MZ\x90\0" + bytes(2000),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n" * 20,
        "photoshop": b"8BPS\0\x01" + bytes(2000),
        "portable_pixmap": b"P6 9 6 255\n" + bytes(162) + bytes(1000),
        "pcx": b"\x0a\x05\x01\x08" + bytes(2000),
        "jpeg_2000_as_a_file": imagecodecs.jpeg2k_encode(NOISE, codecformat="jp2"),
        "jpeg_xl_as_a_file": b"\xff\x0a" + bytes(2000),
        "heic": b"\0\0\0\x18ftypheic" + bytes(2000),
        "nifti": struct.pack("<L", 348) + bytes(340) + b"n+1\0" + bytes(1000),
        "wave": b"RIFF\x24\0\0\0WAVEfmt " + bytes(2000),
        "bm_in_a_text": b"BM is a postcode\n" * 100,
        "numbers_from_2_on": bytes(range(2, 250)) * 9,
        "text_that_begins_like_an_element": b"\x08\x00\x05\x00 Findings: none. " * 40,
        "csv_of_tags": b"0008,0005,CS,ISO_IR 100\n" * 40,
    }
    return [
        Case(f"other_{name}", functools.partial(bytes, content), Reason.NOT_AN_IMAGE, 12)
        for name, content in contents.items()
    ]


def picture_cases() -> list[Case]:
    return [
        *png_cases(),
        *jpeg_cases(),
        *tiff_cases(),
        *bmp_cases(),
        *webp_cases(),
        *gif_cases(),
        *other_cases(),
    ]
