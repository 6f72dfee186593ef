"""GIF: the blocks that decoding needs, how many frames there are, and the frames."""

import io
import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

from medsiglip_search.images.limits import check_animation, check_frame, check_pages
from medsiglip_search.images.raster.decoding import Decoded, malformed, open_pillow, read_all, truncated

# GIF89a specification, appendix A
_EXTENSION, _END = 0x21, 0x3B
_GRAPHIC_CONTROL = 0xF9
_HAS_COLOUR_TABLE = 0x80
_SCREEN_BYTES, _IMAGE_BYTES = 13, 10

_BLOCK = re.compile(rb"[!,;]")


class GifFile:
    """An open GIF file; an animation's frames are as they look after the ones before them."""

    def __init__(self, stream: BinaryIO) -> None:
        try:
            blocks = _read_blocks(read_all(stream))
        except (IndexError, struct.error) as error:
            raise truncated() from error
        check_animation(blocks.frame_count, blocks.rows, blocks.columns)
        self.frame_count = blocks.frame_count
        self._file = io.BytesIO(blocks.file)
        self._animation: Image.Image | None = None

    def decode(self, frame: int) -> Decoded:
        """Return one frame."""
        # Kept open, so that frames read one after another are drawn once; dropped after an error.
        image, self._animation = self._animation or open_pillow(self._file, "GIF"), None
        image.seek(frame)
        image.load()
        if self.frame_count > 1:
            self._animation = image
        return Decoded(image)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """What a GIF file holds, and the file without its comments and texts.

    rows, columns: of the canvas, which frames may widen.
    """

    rows: int
    columns: int
    frame_count: int
    file: bytes


def _read_blocks(data: bytes) -> _Blocks:
    """Raises IndexError or struct.error where the data end within a block."""
    columns, rows, flags = struct.unpack_from("<HHB", data, 6)
    position = _SCREEN_BYTES + _colour_table_bytes(flags)
    kept, frames = [memoryview(data)[:position]], 0
    # Bytes between the blocks are of no meaning.
    while found := _BLOCK.search(data, position):
        start = found.start()
        if data[start] == _END:
            break
        if data[start] == _EXTENSION:
            position = _after_sub_blocks(data, start + 2)
            if data[start + 1] == _GRAPHIC_CONTROL:
                kept.append(memoryview(data)[start:position])
            continue
        left, top, width, height, flags = struct.unpack_from("<4HB", data, start + 1)
        # One byte after the colour table, then the codes.
        position = _after_sub_blocks(data, start + _IMAGE_BYTES + _colour_table_bytes(flags) + 1)
        kept.append(memoryview(data)[start:position])
        frames += 1
        check_pages(frames)
        rows, columns = max(rows, top + height), max(columns, left + width)
        check_frame(rows, columns, bits_per_pixel=24)
    if not frames:
        raise malformed("it holds no picture") if found else truncated()
    return _Blocks(rows, columns, frames, b"".join([*kept, b";"]))


def _colour_table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & _HAS_COLOUR_TABLE else 0


def _after_sub_blocks(data: bytes, position: int) -> int:
    while length := data[position]:
        position += length + 1
    return position + 1
