"""One open DICOM file."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import BinaryIO

import numpy as np
from pydicom.pixels import get_decoder
from pydicom.uid import ExplicitVRBigEndian

from medsiglip_search.errors import InvalidQuery, Reason, Unreadable
from medsiglip_search.images.dicom.attributes import attributes, flags
from medsiglip_search.images.dicom.codecs import decode_codestream, find_fragments, read_codestream
from medsiglip_search.images.dicom.geometry import frame_order, position_mm
from medsiglip_search.images.dicom.header import (
    check_colours,
    find_pixels,
    pixel_options,
    read_header,
    transfer_syntax,
)
from medsiglip_search.images.dicom.native import is_packed, is_plain, read_packed, read_plain
from medsiglip_search.images.dicom.palette import palette
from medsiglip_search.images.dicom.rendering import grey_rendering
from medsiglip_search.images.grey import (
    WINDOW_FALLBACK,
    GreyRendering,
    fitted_window,
    is_flat,
    modality_values,
    render_ct_windows,
    render_own,
    render_window,
)
from medsiglip_search.images.levels import PERCENTILE_SAMPLE, value_range
from medsiglip_search.images.pixelwise import rgb_of
from medsiglip_search.images.source import stream_size, translated
from medsiglip_search.records import Picture
from medsiglip_search.windows import RenderSpec, ValueRange, Window

_GREY = ("MONOCHROME1", "MONOCHROME2")
_SERIES_SAMPLE = 3
"""Frames that stand for a whole MR series when a window is fitted to it."""


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
        check_colours(self._syntax, self._options)
        self.frame_count = int(self._options["number_of_frames"])
        end = stream_size(self._stream)
        if self._element.length is None:
            self._fragments = find_fragments(self._stream, self._element.offset, end, self.frame_count)
        else:
            self._check_amount(end)
        self._attributes = attributes(self._dataset)
        self._flags = flags(self._dataset)

    def frame_order(self) -> Sequence[int]:
        """Return the frame numbers in the order in which they follow one another in space."""
        return frame_order(self._dataset, self.frame_count)

    def read(self, frame: int, window: Window | None = None) -> Picture:
        """Return one frame; of the others, only a few of an MR volume are decoded, to fit its window to.

        window: shown instead of the file's own and the rendering's, in modality units.
        """
        stored, colour_space = self._decode(frame)
        assumed: tuple[str, ...] = ()
        if stored.ndim == 2 and colour_space in _GREY:
            # A damaged header may ask for values beyond what floats hold; they end as black or white.
            with np.errstate(all="ignore"):
                pixels, assumed = self._render_grey(stored, self._grey(frame, colour_space), window)
        elif window is not None:
            raise InvalidQuery("A picture in colours has no values to window. Leave the window out.")
        elif stored.ndim == 3 and colour_space == "RGB":
            pixels = _eight_bits(stored, int(self._options["bits_stored"]))
        elif stored.ndim == 2 and colour_space == "PALETTE COLOR":
            tables = palette(self._dataset)
            pixels = rgb_of(stored, lambda part: [table.apply(part) for table in tables])
        else:
            raise Unreadable(
                Reason.UNSUPPORTED_CODEC, "Its colour space is not supported. Export it as RGB or grey."
            )
        here = replace(self._attributes, position_mm=position_mm(self._dataset, frame))
        return Picture(np.ascontiguousarray(pixels), frame, here, assumed + self._flags)

    def values(self, frame: int) -> np.ndarray:
        """Return (H, W) values of one frame in modality units, HU for CT.

        Integers where the file rescales nothing. Raises InvalidQuery for a picture in colours.
        """
        stored, colour_space = self._decode(frame)
        if stored.ndim != 2 or colour_space not in _GREY:
            raise InvalidQuery("A picture in colours has no values in modality units.")
        return modality_values(stored, _scaled(self._grey(frame, colour_space)))

    def value_range(self, frame: int) -> ValueRange | None:
        """Return which values one frame has; None for a picture without any, or with a damaged rescale."""
        stored, colour_space = self._decode(frame)
        if stored.ndim != 2 or colour_space not in _GREY:
            return None
        grey = self._grey(frame, colour_space)
        if grey.view == "unscaled":
            return None
        with np.errstate(all="ignore"):
            low, high = value_range(modality_values(stored, grey))
            window = grey.window or fitted_window([(stored, grey)], self._rendering.percentiles)
        return ValueRange(low, high, "HU" if grey.view == "ct" else None, window)

    def _grey(self, frame: int, colour_space: str) -> GreyRendering:
        return grey_rendering(self._dataset, frame, invert=colour_space == "MONOCHROME1")

    def _render_grey(
        self, stored: np.ndarray, grey: GreyRendering, window: Window | None
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return (H, W, 3) uint8 RGB, and the flags of what was assumed."""
        if window is not None:
            return render_window(stored, _scaled(grey), window), ()
        if grey.view == "ct":
            return render_ct_windows(stored, grey, self._rendering.ct), ()
        if grey.view == "percentiles":
            fitted = self._series_window or fitted_window([(stored, grey)], self._rendering.percentiles)
            return render_window(stored, grey, fitted), ()
        pixels = render_own(stored, grey)
        if pixels is not None and not is_flat(pixels):
            return pixels, ()
        fitted = fitted_window([(stored, grey)], self._rendering.percentiles)
        return render_window(stored, grey, fitted), (WINDOW_FALLBACK,)

    @cached_property
    def _series_window(self) -> Window | None:
        """The window of a few frames spread over a volume, None where there is but one frame."""
        if self.frame_count == 1:
            return None
        count = min(_SERIES_SAMPLE, self.frame_count)
        samples = []
        for part in range(count):
            frame = (2 * part + 1) * self.frame_count // (2 * count)
            try:
                with translated():
                    stored, colour_space = self._decode(frame)
            except Unreadable:  # of this frame only; the one that is asked for may be whole
                continue
            step = max(1, count * stored.size // PERCENTILE_SAMPLE)
            samples.append((stored.reshape(-1)[::step].copy(), self._grey(frame, colour_space)))
        return fitted_window(samples, self._rendering.percentiles) if samples else None

    def _check_amount(self, end: int) -> None:
        """Raise Unreadable if there are fewer bytes than all uncompressed frames need."""
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
        if self._element.length is None:
            codestream = read_codestream(self._stream, frame, self._fragments, self._options)
            return decode_codestream(self._syntax, codestream, self._options)
        big_endian = self._syntax == ExplicitVRBigEndian
        if is_plain(self._options, big_endian):
            stored = read_plain(self._stream, frame, self._options, big_endian)
            return stored, str(self._options["photometric_interpretation"])
        if is_packed(self._options, big_endian):
            stored = read_packed(self._stream, frame, self._options)
            return stored, str(self._options["photometric_interpretation"])
        stored, properties = get_decoder(self._syntax).as_array(self._stream, index=frame, **self._options)
        return stored, str(properties["photometric_interpretation"])


def _scaled(grey: GreyRendering) -> GreyRendering:
    """Return the same; raises InvalidQuery where stored values do not become modality values."""
    if grey.view == "unscaled":
        raise InvalidQuery("Its rescale is damaged: it has no values to window. Leave the window out.")
    return grey


def _eight_bits(stored: np.ndarray, bits: int) -> np.ndarray:
    """Return uint8 of unsigned samples that use the lowest `bits` bits."""
    if stored.dtype == np.uint8 and bits >= 8:
        return stored
    if bits > 8:
        return np.minimum(stored >> (bits - 8), 255).astype(np.uint8)
    return (stored * (255.0 / (2**bits - 1)) + 0.5).astype(np.uint8)
