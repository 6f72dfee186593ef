"""What the readers of the containers have in common: one decoded frame, Pillow within limits, errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol

from PIL import Image

from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images.limits import check_encoded, check_frame
from medsiglip_search.images.raster.pixels import Samples
from medsiglip_search.images.source import stream_size

PillowFormat = Literal["PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF"]


@dataclass(frozen=True, slots=True)
class Decoded:
    """One frame as it is stored.

    samples: or a loaded image of Pillow's.
    orientation: EXIF's, 1..8, still to be applied.
    """

    samples: Samples | Image.Image
    orientation: int = 1


class Container(Protocol):
    """A file of one kind. What it raises when opened or decoded is Unreadable, or its decoder's own."""

    frame_count: int

    def decode(self, frame: int) -> Decoded:
        """Return one frame, counted from 0."""
        ...


def open_pillow(stream: BinaryIO, kind: PillowFormat) -> Image.Image:
    """Return the image with its size checked and its pixels still to be loaded."""
    try:
        image = Image.open(stream, formats=(kind,))
    except Image.DecompressionBombError as error:
        raise Unreadable(
            Reason.TOO_LARGE, "The picture is over the limit of pixels. Reduce or tile it."
        ) from error
    check_frame(image.height, image.width, bits_per_pixel=24)
    return image


@contextmanager
def ends_early(incomplete: bool) -> Iterator[None]:
    """Raise Unreadable(TRUNCATED) where decoding fails in a file whose end is missing."""
    try:
        yield
    except (Unreadable, MemoryError):
        raise
    except Exception as error:
        if incomplete:
            raise truncated() from error
        raise


def truncated() -> Unreadable:
    """Return the error for a file whose end is missing."""
    return Unreadable(Reason.TRUNCATED, "The picture ends early. Copy it again from its source.")


def malformed(what: str) -> Unreadable:
    """Return the error for a damaged file; `what` is a clause without text from the file."""
    return Unreadable(Reason.MALFORMED, f"The file is damaged: {what}. Export it again.")


def read_all(stream: BinaryIO) -> bytes:
    """Return the rest of the stream; raises Unreadable if that is more than a picture may take."""
    # Before it is read: the memory would be taken whatever there is.
    check_encoded(stream_size(stream) - stream.tell())
    return stream.read()
