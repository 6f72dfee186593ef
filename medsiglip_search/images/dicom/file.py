"""One open DICOM file."""

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder

from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images.dicom.attributes import attributes, flags
from medsiglip_search.images.dicom.codecs import check_fragments, decode_codestream
from medsiglip_search.images.dicom.header import find_pixels, pixel_options, read_header, transfer_syntax
from medsiglip_search.images.dicom.rendering import grey_rendering, palette
from medsiglip_search.images.grey import render_stored
from medsiglip_search.images.source import stream_size
from medsiglip_search.records import Picture
from medsiglip_search.windows import RenderSpec, Window


class DicomFile:
    """The frames of a DICOM image; nothing is decoded before `read`.

    Raises Unreadable for what is no picture, too large, or shorter than its header says. pydicom's own
    exceptions pass through.
    """

    def __init__(self, stream: BinaryIO, rendering: RenderSpec) -> None:
        self._rendering = rendering
        self._dataset, self._stream = read_header(stream)
        self._element = find_pixels(self._dataset, self._stream)
        self._syntax = transfer_syntax(self._dataset, self._element)
        self._options = pixel_options(self._dataset, self._element)
        self.frame_count = int(self._options["number_of_frames"])
        self._check_amount()
        self._attributes = attributes(self._dataset)
        self._flags = flags(self._dataset)

    def frame_order(self) -> Sequence[int]:
        """Return the frame numbers in the order in which they follow one another."""
        return range(self.frame_count)

    def read(self, frame: int, window: Window | None = None) -> Picture:
        """Return one frame; the others are not decoded."""
        stored, colour_space = self._decode(frame)
        assumed: tuple[str, ...] = ()
        if stored.ndim == 3 and colour_space == "RGB":
            pixels = _eight_bits(stored, int(self._options["bits_stored"]))
        elif stored.ndim == 2 and colour_space == "PALETTE COLOR":
            pixels = np.stack([table.apply(stored) for table in palette(self._dataset)], axis=-1)
        elif stored.ndim == 2 and colour_space in ("MONOCHROME1", "MONOCHROME2"):
            rendering = grey_rendering(self._dataset, frame, invert=colour_space == "MONOCHROME1")
            pixels, assumed = render_stored(stored, rendering)
        else:
            raise Unreadable(
                Reason.UNSUPPORTED_CODEC, "Its colour space is not supported. Export it as RGB or grey."
            )
        return Picture(np.ascontiguousarray(pixels), frame, self._attributes, assumed + self._flags)

    def _check_amount(self) -> None:
        """Raise Unreadable if there is less than all frames need."""
        end = stream_size(self._stream)
        if self._syntax.is_encapsulated:
            check_fragments(self._stream, self._element.offset, end, self.frame_count)
            return
        options = self._options
        bits = options["rows"] * options["columns"] * options["samples_per_pixel"] * options["bits_allocated"]
        if options["photometric_interpretation"] == "YBR_FULL_422":
            bits = bits // 3 * 2  # two pixels share their chroma
        needed = (self.frame_count * bits + 7) // 8
        held = min(end - self._element.offset, self._element.length or 0)
        if held < needed:
            raise Unreadable(
                Reason.TRUNCATED,
                f"It holds {held} of {needed} bytes of pixels. Copy it again from its source.",
            )

    def _decode(self, frame: int) -> tuple[np.ndarray, str]:
        """Return stored values, (H, W) or (H, W, 3), and the colour space they are in now."""
        self._stream.seek(self._element.offset)
        if not self._syntax.is_encapsulated:
            decoder = get_decoder(self._syntax)
            stored, properties = decoder.as_array(self._stream, index=frame, **self._options)
            return stored, str(properties["photometric_interpretation"])
        codestream = get_frame(
            self._stream,
            frame,
            number_of_frames=self.frame_count,
            extended_offsets=self._options.get("extended_offsets"),
        )
        single = {**self._options, "number_of_frames": 1, "extended_offsets": None}
        return decode_codestream(self._syntax, codestream, single)


def _eight_bits(stored: np.ndarray, bits: int) -> np.ndarray:
    """Return uint8 of unsigned samples that use the lowest `bits` bits."""
    if stored.dtype == np.uint8 and bits >= 8:
        return stored
    if bits > 8:
        return np.minimum(stored >> (bits - 8), 255).astype(np.uint8)
    return (stored * (255.0 / (2**bits - 1)) + 0.5).astype(np.uint8)
