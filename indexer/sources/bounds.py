"""How much is taken from inside an archive; checked before the memory is."""

from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images.limits import MAX_ENCODED_BYTES

MAX_MEMBERS = 5_000_000
"""Of one tar or zip: files, folders and whatever else it lists."""

_MOST_INFLATED = 200
"""Bytes from one byte. Archives of pictures hold 2 to 20 for one, blank pictures up to a thousand."""

_INFLATED_FREELY = 16 << 20
"""Bytes of which the ratio is not asked: blank pictures among them."""


def check_content(size: int) -> None:
    """Raise Unreadable for a file with more bytes than are held in memory."""
    if size > MAX_ENCODED_BYTES:
        raise Unreadable(
            Reason.TOO_LARGE,
            f"It has more than {MAX_ENCODED_BYTES // 2**20} MiB, the most that is read from inside a file or "
            "from afar. Put it into a local folder.",
        )


def is_bomb(inflated: int, packed: int) -> bool:
    """Tell whether so many bytes come from so few that no pictures can be meant."""
    return inflated > _INFLATED_FREELY + _MOST_INFLATED * packed
