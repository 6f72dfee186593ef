"""What is kept of users between their requests: how much of it, and who makes room."""

import pytest

from medsiglip_search.errors import Gone
from medsiglip_search.service.kept import Kept


def is_there(kept: Kept[str], owner: str, token: str) -> bool:
    try:
        return kept.get(owner, token) == "picture"
    except Gone:
        return False


def test_the_oldest_of_all_make_room_where_everybodys_are_too_large_together() -> None:
    kept: Kept[str] = Kept("picture", seconds=60, most=10, most_bytes=60, most_bytes_in_all=100)
    tokens = [(owner, kept.keep(owner, "picture", 40)) for owner in ("ann", "bob", "ann", "cid")]
    assert [is_there(kept, *one) for one in tokens] == [False, False, True, True]


def test_one_that_is_larger_than_all_may_be_is_kept_alone() -> None:
    kept: Kept[str] = Kept("picture", seconds=60, most=10, most_bytes_in_all=100)
    tokens = [("ann", kept.keep("ann", "picture", 10)), ("bob", kept.keep("bob", "picture", 500))]
    assert [is_there(kept, *one) for one in tokens] == [False, True]


def test_entries_are_limited_in_number_whatever_their_size() -> None:
    kept: Kept[str] = Kept("link", seconds=60, most=10, most_in_all=2)
    tokens = [(owner, kept.keep(owner, "picture")) for owner in ("ann", "bob", "cid")]
    assert [is_there(kept, *one) for one in tokens] == [False, True, True]
    with pytest.raises(Gone):
        kept.get("ann", tokens[1][1])
