"""A file or bytes to RGB pictures: one way for the archive and for queries."""

import os
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from medsiglip_search.errors import InvalidQuery, Reason, Unreadable
from medsiglip_search.images.dicom import DicomFile
from medsiglip_search.images.digests import pixel_digest, source_digest
from medsiglip_search.images.grey import is_flat
from medsiglip_search.images.raster import RasterFile
from medsiglip_search.images.sniff import SNIFF_BYTES, is_packed, sniff
from medsiglip_search.images.source import open_source, translated
from medsiglip_search.images.thumbnail import png, thumbnail
from medsiglip_search.records import Picture
from medsiglip_search.windows import RenderSpec, ValueRange, Window

__all__ = [
    "ImageFile",
    "open_image",
    "pixel_digest",
    "png",
    "read_picture",
    "read_values",
    "sampled_frames",
    "source_digest",
    "thumbnail",
]

_OTHER = "This is neither DICOM, PNG, JPEG, TIFF, BMP, WebP nor GIF."
_PACKED = "This is a packed file, no picture. If it holds some, give it to `index` as an archive of its own."


class ImageFile(Protocol):
    """An open file of one or more frames, each decoded only when it is read."""

    frame_count: int

    def read(self, frame: int = 0, window: Window | None = None) -> Picture:
        """Return one frame, counted from 0.

        window: shown instead of what the file or the rendering says, in modality units.
        Raises Unreadable; InvalidQuery for a frame it has not and a window on a picture without values.
        """
        ...

    def value_range(self, frame: int = 0) -> ValueRange | None:
        """Return which values one frame has; None for one that no window fits. Raises as `read`."""
        ...

    def sampled(self, limit: int) -> list[int]:
        """Return at most `limit` frame numbers, evenly spaced, slices in the order of their position."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_image(source: str | os.PathLike[str] | bytes, rendering: RenderSpec = RenderSpec()) -> ImageFile:
    """Open a picture; its content decides what it is, never its name. Close it by `with`.

    Raises Unreadable, and nothing else, for what cannot become a picture.
    """
    stream = open_source(source)
    try:
        with translated():
            head = stream.read(SNIFF_BYTES)
            kind = sniff(head)
            stream.seek(0)
            if kind is None:
                raise Unreadable(Reason.NOT_AN_IMAGE, _PACKED if is_packed(head) else _OTHER)
            reader = DicomFile(stream, rendering) if kind == "dicom" else RasterFile(stream)
        return _OpenImage(stream, reader)
    except BaseException:
        stream.close()
        raise


def read_picture(
    source: str | os.PathLike[str] | bytes, rendering: RenderSpec, frame: int | None, window: Window | None
) -> Iterator[Picture]:
    """Yield one frame of a file, the middle one if `frame` is None: a task for the guard."""
    with open_image(source, rendering) as image:
        yield image.read(image.sampled(1)[0] if frame is None else frame, window)


def read_values(
    source: str | os.PathLike[str] | bytes, rendering: RenderSpec, frame: int
) -> Iterator[tuple[int, ValueRange | None]]:
    """Yield how many frames a file has, and which values one of them has: a task for the guard."""
    with open_image(source, rendering) as image:
        yield image.frame_count, image.value_range(frame)


def sampled_frames(frame_count: int, limit: int) -> list[int]:
    """Return at most `limit` frame numbers from 0, evenly spaced: the middles of equal parts.

    All frames where there are no more than `limit`; the middle one for a limit of 1.
    """
    if limit < 1:
        raise ValueError(f"limit is {limit}, must be at least 1")
    if frame_count <= limit:
        return list(range(frame_count))
    return [(2 * part + 1) * frame_count // (2 * limit) for part in range(limit)]


class _OpenImage:
    """What every kind of file has in common: errors translated, blank frames refused."""

    def __init__(self, stream: BinaryIO, reader: DicomFile | RasterFile) -> None:
        self._stream = stream
        self._reader = reader
        self.frame_count = reader.frame_count

    def read(self, frame: int = 0, window: Window | None = None) -> Picture:
        self._require(frame)
        with translated():
            picture = self._reader.read(frame, window)
        if is_flat(picture.pixels):
            raise Unreadable(Reason.BLANK_IMAGE, "All its pixels have the same value.")
        return replace(picture, frame_count=self.frame_count)

    def value_range(self, frame: int = 0) -> ValueRange | None:
        self._require(frame)
        with translated():
            return self._reader.value_range(frame)

    def sampled(self, limit: int) -> list[int]:
        with translated():
            order = self._reader.frame_order()
        return [order[place] for place in sampled_frames(self.frame_count, limit)]

    def _require(self, frame: int) -> None:
        if not 0 <= frame < self.frame_count:
            raise InvalidQuery(f"frame {frame} of {self.frame_count}: give 0 to {self.frame_count - 1}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
