"""Seeded damage to good files: of bytes anywhere, and of what each format counts and measures by.

Every function takes a file and a generator, and returns another file; the same state gives the same file.
"""

import re
import struct
import zlib
from collections.abc import Callable
from random import Random

Mutation = Callable[[bytes, Random], bytes]

# Lengths, counts and sizes at which code tends to go wrong.
NUMBERS = (0, 1, 2, 3, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 1000, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000,
           10**6, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)  # fmt: skip
VRS = ("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OD", "OF", "OL",
       "OV", "OW", "PN", "SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US",
       "UT")  # fmt: skip
LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
_ELEMENT = re.compile(b"(" + "|".join(VRS).encode() + b")", re.DOTALL)
TIFF_TAGS = (254, 256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 322, 324, 330, 338, 339, 347,
             530, 34665, 34675)  # fmt: skip
_DELIMITERS = (b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0")


def mutated(file: bytes, kind: str, rng: Random) -> bytes:
    """Return the file with one to four kinds of damage.

    kind: "dicom", "png", "jpeg" or "tiff", whose own fields are hit three times out of five; or another.
    """
    own = OF_FORMAT.get(kind, ANYWHERE)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 4))):
        if not file:
            break
        file = rng.choice(own if rng.random() < 0.6 else ANYWHERE)(file, rng)
    return file


# --- Anywhere ---


def place(file: bytes, rng: Random) -> int:
    """Return a position, near the start more often than not: headers do more harm than pixels."""
    return min(len(file) - 1, int(len(file) * rng.random() ** rng.choice((1, 3, 6))))


def flip_bits(file: bytes, rng: Random) -> bytes:
    changed = bytearray(file)
    for _ in range(rng.choice((1, 1, 2, 8, 32))):
        changed[place(file, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite_run(file: bytes, rng: Random) -> bytes:
    start, length = place(file, rng), rng.choice((1, 2, 4, 16, 200))
    run = rng.choice((b"\0" * length, b"\xff" * length, rng.randbytes(length)))
    return file[:start] + run + file[start + length :]


def overwrite_number(file: bytes, rng: Random) -> bytes:
    start = place(file, rng)
    return with_number(file, start, rng.choice("HL"), rng.choice("<>"), rng)


def cut(file: bytes, rng: Random) -> bytes:
    return file[: place(file, rng)] if rng.random() < 0.5 else file[: -rng.randint(1, 40)]


def repeat_part(file: bytes, rng: Random) -> bytes:
    start = place(file, rng)
    part = file[start : start + rng.choice((1, 8, 100, 2000))]
    return file[:start] + part * rng.choice((2, 2, 3, 50)) + file[start + len(part) :]


def remove_part(file: bytes, rng: Random) -> bytes:
    start = place(file, rng)
    return file[:start] + file[start + rng.choice((1, 2, 4, 8, 100)) :]


def insert_noise(file: bytes, rng: Random) -> bytes:
    start = place(file, rng)
    return file[:start] + rng.randbytes(rng.choice((1, 2, 4, 8, 100))) + file[start:]


def move_part(file: bytes, rng: Random) -> bytes:
    start, goal = place(file, rng), place(file, rng)
    part = file[start : start + rng.choice((4, 8, 50, 500))]
    rest = file[:start] + file[start + len(part) :]
    return rest[:goal] + part + rest[goal:]


def with_number(file: bytes, start: int, form: str, order: str, rng: Random) -> bytes:
    """Return the file with an awkward number at `start`, or one near to what stands there."""
    size = struct.calcsize(order + form)
    if start + size > len(file):
        return file
    most = 256**size - 1
    (old,) = struct.unpack_from(order + form, file, start)
    new = rng.choice(
        (rng.choice(NUMBERS) & most, (old + rng.choice((-2, -1, 1, 2))) & most, old * 2 & most, len(file))
    )
    return file[:start] + struct.pack(order + form, new & most) + file[start + size :]


# --- DICOM ---


def element_starts(file: bytes) -> list[int]:
    """Return where the value representations of explicit elements seem to stand, nested ones included."""
    return [match.start() for match in _ELEMENT.finditer(file, 4, max(4, len(file) - 8))]


def change_element(file: bytes, rng: Random) -> bytes:
    """Give an element another length, value representation or tag, or a number as its value."""
    starts = element_starts(file)
    if not starts:
        return overwrite_number(file, rng)
    start = rng.choice(starts)
    long = file[start : start + 2].decode() in LONG_VRS
    what = rng.randrange(5)
    if what == 0:
        return with_number(file, start + (4 if long else 2), "L" if long else "H", "<", rng)
    if what == 1:
        return file[:start] + rng.choice(VRS).encode() + file[start + 2 :]
    if what == 2:
        other = rng.choice(starts)
        return file[: start - 4] + file[other - 4 : other] + file[start:]
    if what == 3:
        other = rng.choice(starts)
        return file[: start - 4] + file[other - 4 : other + 40] + file[start - 4 :]
    return with_number(file, start + (8 if long else 4), rng.choice("HL"), "<", rng)


def change_image_size(file: bytes, rng: Random) -> bytes:
    """Give an element of the image pixel module (group 0028) another value, in any encoding."""
    starts = [
        match.start() for match in re.finditer(rb"\x28\x00[\x00-\x13]\x00|\x00\x28\x00[\x00-\x13]", file)
    ]
    if not starts:
        return change_element(file, rng)
    return with_number(file, rng.choice(starts) + 8, "H", rng.choice("<<<>"), rng)


def change_digits(file: bytes, rng: Random) -> bytes:
    """Put other text into a decimal or integer string, or into a UID."""
    starts = [
        start for start in element_starts(file) if file[start : start + 2] in (b"DS", b"IS", b"UI", b"CS")
    ]
    if not starts:
        return change_element(file, rng)
    start = rng.choice(starts)
    (length,) = struct.unpack_from("<H", file, start + 2)
    texts = (b"nan", b"inf", b"-1", b"1e400", b"0", b"99999999", b"", b"1\\2\\3", b"\xff\xfe", b"x")
    value = rng.choice(texts)[:length].ljust(length, b" ")
    return file[: start + 4] + value + file[start + 4 + length :]


def change_item(file: bytes, rng: Random) -> bytes:
    """Change the length of an item or of a fragment, or take one delimiter for another."""
    starts = [match.start() for match in re.finditer(b"|".join(map(re.escape, _DELIMITERS)), file)]
    if not starts:
        return change_element(file, rng)
    start = rng.choice(starts)
    if rng.random() < 0.7:
        return with_number(file, start + 4, "L", "<", rng)
    return file[:start] + rng.choice(_DELIMITERS) + file[start + 4 :]


def change_codestream(file: bytes, rng: Random) -> bytes:
    """Damage the first bytes of a compressed frame, where its own header stands."""
    starts = [match.end() + 4 for match in re.finditer(re.escape(_DELIMITERS[0]), file)][-3:]
    if not starts:
        return change_image_size(file, rng)
    start = min(rng.choice(starts) + rng.randrange(100), len(file) - 1)
    if rng.random() < 0.5:
        return with_number(file, start, rng.choice("HL"), ">", rng)
    return file[:start] + rng.randbytes(1) + file[start + 1 :]


# --- PNG ---


def change_chunk(file: bytes, rng: Random) -> bytes:
    """Damage a chunk's data under a right checksum, or its length or type; or repeat, move or remove it."""
    starts = chunk_starts(file)
    if not starts:
        return flip_bits(file, rng)
    start = rng.choice(starts)
    (length,) = struct.unpack_from(">L", file, start)
    kind, data, rest = (
        file[start + 4 : start + 8],
        file[start + 8 : start + 8 + length],
        file[start + 12 + length :],
    )
    chunk = file[start : start + 12 + length]
    what = rng.randrange(6)
    if what == 0:
        return with_number(file, start, "L", ">", rng)
    if what == 1:
        return file[:start] + chunk * rng.choice((0, 2, 3)) + rest
    if what == 2:
        other = rng.choice(starts)
        return file[:start] + rest if other == start else file[:other] + chunk + file[other:]
    if what == 3:
        kind = rng.choice(
            (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"iCCP", b"eXIf")
        )
    elif data and kind == b"IDAT" and what == 4:
        data = _recompressed(data, rng)
    elif data:
        data = rng.choice((flip_bits, overwrite_number, cut))(data, rng)
    body = kind + data
    return file[:start] + struct.pack(">L", len(data)) + body + struct.pack(">L", zlib.crc32(body)) + rest


def chunk_starts(file: bytes) -> list[int]:
    starts, start = [], 8
    while start + 12 <= len(file):
        starts.append(start)
        start += 12 + struct.unpack_from(">L", file, start)[0]
    return starts


def _recompressed(data: bytes, rng: Random) -> bytes:
    try:
        raw = zlib.decompress(data)
    except zlib.error:
        return flip_bits(data, rng)
    return zlib.compress(rng.choice((flip_bits, cut, repeat_part))(raw, rng)) if raw else data


# --- JPEG ---


def change_segment(file: bytes, rng: Random) -> bytes:
    """Damage a segment between two markers, its length or its marker; or repeat, move or remove it."""
    starts = segment_starts(file)
    if not starts:
        return flip_bits(file, rng)
    start = rng.choice(starts)
    length = 2 + struct.unpack_from(">H", file, start + 2)[0]
    segment, rest = file[start : start + length], file[start + length :]
    what = rng.randrange(6)
    if what == 0:
        return with_number(file, start + 2, "H", ">", rng)
    if what == 1:
        return file[:start] + segment * rng.choice((0, 2, 3)) + rest
    if what == 2:
        other = rng.choice(starts)
        return file[:other] + segment + file[other:]
    if what == 3:
        return file[: start + 1] + bytes([rng.randrange(0xC0, 0xFF)]) + file[start + 2 :]
    if what == 4:
        return with_number(file, start + 4 + rng.randrange(max(1, length - 4)), "H", ">", rng)
    return file[: start + 4] + flip_bits(segment[4:] or b"\0", rng) + rest


def segment_starts(file: bytes) -> list[int]:
    starts, start = [], 2
    while start + 4 <= len(file) and file[start] == 0xFF:
        starts.append(start)
        start += 2 + struct.unpack_from(">H", file, start + 2)[0]
    return starts


# --- TIFF ---


def change_entry(file: bytes, rng: Random) -> bytes:
    """Give an entry of a directory another tag, type, count or value, or lead their chain elsewhere."""
    order = ">" if file.startswith(b"MM") else "<"
    directories = directory_starts(file, order)
    if not directories:
        return overwrite_number(file, rng)
    start = rng.choice(directories)
    (count,) = struct.unpack_from(order + "H", file, start)
    entry = start + 2 + 12 * rng.randrange(max(1, count))
    following = start + 2 + 12 * count
    what = rng.randrange(7)
    if what == 0 and following + 4 <= len(file):
        target = struct.pack(order + "L", rng.choice((*directories, len(file), 8, 0)))
        return file[:following] + target + file[following + 4 :]
    if what == 1:
        return with_number(file, start, "H", order, rng)
    if what == 2:
        return file[:entry] + struct.pack(order + "H", rng.choice(TIFF_TAGS)) + file[entry + 2 :]
    if what == 3:
        return file[: entry + 2] + struct.pack(order + "H", rng.randrange(20)) + file[entry + 4 :]
    if what == 4:
        return with_number(file, entry + 4, "L", order, rng)
    return with_number(file, entry + 8, rng.choice("HL"), order, rng)


def directory_starts(file: bytes, order: str) -> list[int]:
    if len(file) < 8:
        return []
    starts: list[int] = []
    (start,) = struct.unpack_from(order + "L", file, 4)
    while start >= 8 and start + 2 <= len(file) and start not in starts:
        starts.append(start)
        following = start + 2 + 12 * struct.unpack_from(order + "H", file, start)[0]
        if following + 4 > len(file):
            break
        (start,) = struct.unpack_from(order + "L", file, following)
    return starts


ANYWHERE: tuple[Mutation, ...] = (
    flip_bits, overwrite_run, overwrite_number, cut, repeat_part, remove_part, insert_noise, move_part,
)  # fmt: skip
OF_FORMAT: dict[str, tuple[Mutation, ...]] = {
    "dicom": (
        change_element,
        change_element,
        change_image_size,
        change_digits,
        change_item,
        change_codestream,
    ),
    "png": (change_chunk,),
    "jpeg": (change_segment,),
    "tiff": (change_entry,),
}
