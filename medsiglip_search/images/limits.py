"""How large a picture may be; checked against the header, before any memory is taken for pixels."""

from medsiglip_search.errors import Reason, Unreadable

MAX_FRAME_PIXELS = 90_000_000
"""Three times the largest mammograms; a picture of this size decodes within about 1 GB."""

MAX_FRAME_BYTES = 320 * 2**20
"""Of one decoded frame, before it is rendered."""

MAX_INFLATED_BYTES = 256 * 2**20
"""Of a deflated file."""


def check_frame(rows: int, columns: int, bits_per_pixel: int) -> None:
    """Raise Unreadable if a frame of this size has no pixels or would take more memory than allowed."""
    if rows < 1 or columns < 1:
        raise Unreadable(Reason.MALFORMED, f"The picture has {rows} rows and {columns} columns.")
    too_many_pixels = rows * columns > MAX_FRAME_PIXELS
    if too_many_pixels or rows * columns * bits_per_pixel > 8 * MAX_FRAME_BYTES:
        raise Unreadable(
            Reason.TOO_LARGE,
            f"A frame of {rows} x {columns} at {bits_per_pixel} bits a pixel is over the limit of "
            f"{MAX_FRAME_PIXELS // 10**6} megapixels or {MAX_FRAME_BYTES // 2**20} MiB. Reduce or tile it.",
        )
