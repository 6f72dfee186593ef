import base64

import pytest

from medsiglip_search.errors import CursorExpired, InvalidQuery
from medsiglip_search.querying import cursors


def test_a_cursor_says_where_its_page_ended():
    assert cursors.offset_of(cursors.cursor("v1", "q", 20), "v1", "q") == 20


def test_of_another_version_it_has_expired():
    with pytest.raises(CursorExpired, match="first page again"):
        cursors.offset_of(cursors.cursor("v1", "q", 20), "v2", "q")


def test_of_another_query_it_is_refused():
    with pytest.raises(InvalidQuery, match="another query") as refused:
        cursors.offset_of(cursors.cursor("v1", "q", 20), "v1", "r")
    assert not isinstance(refused.value, CursorExpired)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "é",
        "AAAA",
        base64.urlsafe_b64encode(b"[1,2]").decode(),
        base64.b64encode(b"[" * 9999).decode(),
    ],
)
def test_garbage_is_refused(text):
    with pytest.raises(InvalidQuery, match="cursor: it is none"):
        cursors.offset_of(text, "v1", "q")


@pytest.mark.parametrize("offset", ["-1", "0", "1.5", "null", '"3"', "true"])
def test_an_offset_that_no_page_ends_at_is_refused(offset):
    state, question = (cursors._short(text) for text in ("v1", "q"))
    forged = base64.urlsafe_b64encode(f'["{state}","{question}",{offset}]'.encode()).decode()
    with pytest.raises(InvalidQuery, match="cursor: it is none"):
        cursors.offset_of(forged, "v1", "q")
