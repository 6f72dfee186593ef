"""Where a page of a result ends, as text that a caller hands back to have the next one."""

import base64
import hashlib
import json

from medsiglip_search.errors import CursorExpired, InvalidQuery


def cursor(state: str, question: str, offset: int) -> str:
    """Return the cursor after `offset` hits. state: of the gallery; question: identity of the query."""
    note = json.dumps([_short(state), _short(question), offset], separators=(",", ":"))
    return base64.urlsafe_b64encode(note.encode()).decode().rstrip("=")


def offset_of(cursor: str, state: str, question: str) -> int:
    """Return how many hits came before.

    Raises CursorExpired if it is of another version of the gallery, InvalidQuery if it is of another query or
    none at all.
    """
    try:
        note = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), "-_", validate=True))
        of_state, of_question, offset = note
        if type(offset) is not int or offset < 1:  # JSON's true is an int to Python, too
            raise ValueError(offset)
    except (ValueError, TypeError, RecursionError):
        raise InvalidQuery("cursor: it is none; take it from the page before") from None
    if of_question != _short(question):
        raise InvalidQuery("cursor: it is of another query; ask for the first page without one")
    if of_state != _short(state):
        raise CursorExpired("cursor: the gallery has changed since; ask for the first page again")
    return offset


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
