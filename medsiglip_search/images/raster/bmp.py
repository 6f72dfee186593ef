"""BMP: one picture without metadata to speak of."""

from typing import BinaryIO

from medsiglip_search.images.raster.decoding import Decoded, ends_early, open_pillow
from medsiglip_search.images.source import stream_size


class BmpFile:
    """An open BMP file."""

    frame_count = 1

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        declared_size = int.from_bytes(stream.read(6)[2:], "little")
        self._incomplete = declared_size > stream_size(stream)

    def decode(self, frame: int) -> Decoded:
        """Return the one picture."""
        self._stream.seek(0)
        with ends_early(self._incomplete):
            image = open_pillow(self._stream, "BMP")
            image.load()
        return Decoded(image)
