"""Errors to problem documents (RFC 9457): what is wrong and what to do next, and nothing of what was sent."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from medsiglip_search import errors

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:medsiglip-search:problem:"

NOWHERE: Mapping[str, str] = MappingProxyType({})

FEW_LETTERS = 2
"""Words of no more letters than these identify nobody, and stay in a message."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is answered instead of a result.

    code: what it is, for programs; a word of `docs/api.md`. detail: for people. headers: that go with it.
    """

    status: int
    code: str
    title: str
    detail: str
    headers: Mapping[str, str]

    def document(self, request_id: str) -> dict[str, Any]:
        """Return it as RFC 9457 has it. request_id: by which the service's log knows it."""
        return {
            "type": TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
        }

    def body(self, request_id: str, **more: str) -> bytes:
        """Return the document as JSON, with more members."""
        return json.dumps({**self.document(request_id), **more}).encode()

    @property
    def sentence(self) -> str:
        """The detail as a person reads it."""
        end = "" if self.detail.endswith((".", "!", "?")) else "."
        return f"{self.detail[:1].upper()}{self.detail[1:]}{end}"

    def words(self, request_id: str) -> str:
        """Return all of it in a line."""
        return f"{self.title}. {self.sentence} (ref {request_id})"


_KINDS: tuple[tuple[type[BaseException], int, str, str], ...] = (
    (errors.Unauthenticated, 401, "unauthenticated", "Sign in first"),
    (errors.Forbidden, 403, "forbidden", "Not allowed"),
    (errors.NotFound, 404, "not-found", "Not there"),
    (errors.Gone, 410, "gone", "No longer there"),
    (errors.CursorExpired, 410, "cursor-expired", "The gallery has changed"),
    (errors.Conflict, 409, "conflict", "Not now"),
    (errors.TooLarge, 413, "too-large", "Too large"),
    (errors.TooManyRequests, 429, "too-many-requests", "Too many requests"),
    (errors.AuditUnavailable, 503, "audit-unavailable", "Nothing is done without the audit"),
    (errors.Unavailable, 503, "unavailable", "Not available now"),
    (errors.Unreadable, 422, "unreadable-picture", "Not a picture that can be read"),
    (errors.InvalidQuery, 422, "invalid-query", "Cannot be answered as it stands"),
    (errors.InvalidLabelSet, 422, "invalid-label-set", "Not a label set"),
    (errors.InvalidTruth, 422, "invalid-truth", "Not a truth table that can be joined"),
    (errors.ExplainerUnavailable, 503, "explainer-unavailable", "No explainer"),
    (errors.DecoderUnavailable, 503, "unavailable", "Not available now"),
)

_OWN_WORDS: dict[type[BaseException], Problem] = {
    errors.UnknownImage: Problem(
        422,
        "invalid-query",
        "Cannot be answered as it stands",
        "There is no such image in this gallery; take an image_id from one of its hits.",
        {},
    ),
    errors.GalleryLocked: Problem(
        409, "gallery-locked", "Another run writes to the gallery", "Try it again when that run is done.", {}
    ),
    errors.GalleryError: Problem(
        503,
        "gallery-unavailable",
        "The gallery cannot be read",
        "It may be damaged; an administrator can check it with verify.",
        {},
    ),
}
"""Errors whose messages name places on the server: people get these words instead."""

_DISK_FULL = Problem(
    507, "disk-full", "The service's disk is full", "Tell an administrator; try again then.", {}
)

_UNKNOWN = Problem(
    500,
    "internal",
    "Something went wrong here",
    "It is in the service's log under the request id; what was asked for was not done.",
    {},
)


def listed() -> list[Problem]:
    """Return the problems that there are, without their details."""
    kinds = [Problem(status, code, title, "", {}) for _, status, code, title in _KINDS]
    return [*kinds, *_OWN_WORDS.values(), _DISK_FULL, _UNKNOWN]


def problem_of(
    error: BaseException,
    sent: Iterable[str] = (),
    known: Iterable[str] = (),
    places: Mapping[str, str] = NOWHERE,
) -> Problem:
    """Return what is answered for an error.

    sent: all text that came with the request; none of its words stays in the problem, but for those in
    `known`, such as the names of columns. places: on the server, and what is said instead of each.
    """
    for own, problem in _OWN_WORDS.items():
        if isinstance(error, own):
            return problem
    for kind, status, code, title in _KINDS:
        if isinstance(error, kind):
            headers = {}
            if isinstance(error, errors.TooManyRequests):
                headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
            if isinstance(error, errors.Unauthenticated):
                headers["WWW-Authenticate"] = "Bearer"
            if isinstance(error, errors.Unreadable):
                code = f"{code}:{error.reason.value}"
            message = str(error)
            for place, name in places.items():
                message = message.replace(place, name)
            return Problem(status, code, title, without(message, sent, known), headers)
    if isinstance(error, OSError) and error.errno == 28:  # ENOSPC
        return _DISK_FULL
    return _UNKNOWN


def without(message: str, sent: Iterable[str], known: Iterable[str] = ()) -> str:
    """Return a message with dots in the place of each word that was sent."""
    names = {name.lower() for name in known}
    words = {
        word.lower() for text in sent for word in re.findall(r"\w+", text) if len(word) > FEW_LETTERS
    } - names
    if not words:
        return message
    return re.sub(r"\w+", lambda met: "..." if met.group().lower() in words else met.group(), message)


def texts_in(value: object) -> Iterator[str]:
    """Yield all text in what JSON holds, keys too: whoever sends it chooses them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield str(key)
            yield from texts_in(one)
    elif isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        for one in value:
            yield from texts_in(one)
