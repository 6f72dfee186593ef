"""How large a picture may be; checked against the header, before any memory is taken for pixels."""

from medsiglip_search.errors import Reason, Unreadable

MAX_FRAME_PIXELS = 90_000_000
"""Three times the largest mammograms; a picture of this size decodes within about 1 GB."""

MAX_FRAME_BYTES = 320 * 2**20
"""Of one decoded frame, before it is rendered."""

MAX_INFLATED_BYTES = 256 * 2**20
"""Of a deflated file."""

MAX_ENCODED_BYTES = 320 * 2**20
"""Of one compressed picture, without what else its file holds; none gains from being larger than decoded."""

MAX_PAGES = 30_000
"""Of one file; also of the animation frames in one."""

MAX_ANIMATION_PIXELS = 300_000_000
"""Of all frames of an animation: each is drawn onto the one before, so the last one costs them all."""

MAX_CANVAS_PIXELS = 16_000_000
"""Of an animation, of which a decoder holds several frames."""


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


def check_pages(count: int) -> None:
    """Raise Unreadable for more pages or animation frames than a file may have."""
    if count > MAX_PAGES:
        raise Unreadable(Reason.TOO_LARGE, f"The file has more than {MAX_PAGES} pages or frames. Split it.")


def check_animation(frame_count: int, rows: int, columns: int) -> None:
    """Raise Unreadable if an animation would take more time or memory than allowed."""
    check_pages(frame_count)
    if frame_count > 1 and (
        rows * columns > MAX_CANVAS_PIXELS or frame_count * rows * columns > MAX_ANIMATION_PIXELS
    ):
        raise Unreadable(
            Reason.TOO_LARGE,
            f"An animation of {frame_count} frames of {rows} x {columns} is over the limit of "
            f"{MAX_CANVAS_PIXELS // 10**6} megapixels a frame or {MAX_ANIMATION_PIXELS // 10**6} megapixels "
            "in all. Export its frames as single pictures.",
        )


def check_encoded(size_bytes: int) -> None:
    """Raise Unreadable if a picture takes more memory before it is decoded than allowed."""
    if size_bytes > MAX_ENCODED_BYTES:
        raise Unreadable(
            Reason.TOO_LARGE,
            f"The picture is stored in more than {MAX_ENCODED_BYTES // 2**20} MiB. Compress or tile it.",
        )
