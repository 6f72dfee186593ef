"""What a chat server sends -> pieces of an answer: server-sent events, or one JSON document."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MOST_LINE_BYTES = 256 * 1024
"""Of one line of a stream; a token with all that servers tell about it takes a few hundred."""

MOST_TOLD = 200
"""Characters of a server's own message in ours."""

_MOST_KEPT = 20 * MOST_TOLD

# Every field name of server-sent events (WHATWG HTML 9.2.6) beside data, and what llama.cpp calls a failure.
_PASSED_OVER = (b"event", b"id", b"retry")
_FAILURE = b"error"


class BadAnswer(Exception):
    """A server's answer that is none; the message says what came instead.

    told: the server's own words, as they came. They may hold the key that it was sent.
    """

    def __init__(self, message: str, told: str = "") -> None:
        super().__init__(message)
        self.told = told


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One step of an answer.

    text: what is added. finished: why the answer ended, once it has. tokens: of the whole answer, if told.
    is_last: whether nothing comes after it.
    """

    text: str = ""
    finished: str | None = None
    tokens: int | None = None
    is_last: bool = False


class EventReader:
    """Makes events of bytes, wherever these are cut."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        """Yield the events that are complete now. Raises BadAnswer."""
        # No byte of a longer UTF-8 character looks like a line's end, so that each line is whole characters.
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._rest += line
            whole, self._rest = bytes(self._rest), bytearray()
            yield from _line_events(whole)
        self._rest += rest
        _check_length(len(self._rest))

    def end(self) -> Iterator[ServerEvent]:
        """Yield what a last line without an end holds. Raises BadAnswer."""
        yield from _line_events(bytes(self._rest))


def whole_answer(body: bytes) -> ServerEvent:
    """Return the answer of a server that does not stream. Raises BadAnswer."""
    return _event(_document(body), "message")


def shortened(text: str) -> str:
    """Return a foreign message on one line, printable and of at most MOST_TOLD characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text[:_MOST_KEPT]).split())
    return text if len(text) <= MOST_TOLD else text[: MOST_TOLD - 1].rstrip() + "\u2026"


def error_told(body: bytes) -> str:
    """Return a server's own words about what is wrong; empty where there are none."""
    try:
        return _error_words(json.loads(body))
    except (ValueError, RecursionError):
        text = _text(body)
        return "" if text.lstrip().startswith("<") else text


def _check_length(size_bytes: int) -> None:
    if size_bytes > MOST_LINE_BYTES:
        raise BadAnswer(f"a line of more than {MOST_LINE_BYTES // 1024} KiB")


def _line_events(line: bytes) -> Iterator[ServerEvent]:
    _check_length(len(line))
    line = line.strip().removeprefix(b"\xef\xbb\xbf")
    name, colon, value = line.partition(b":")
    if not line or not name or (colon and name in _PASSED_OVER):
        return
    if colon and name == _FAILURE:
        raise BadAnswer("an error", error_told(value))
    if not colon or name != b"data":
        raise BadAnswer("what is no stream of events", _text(line))
    value = value.strip()
    if value == b"[DONE]":
        yield ServerEvent(is_last=True)
    elif value:
        yield _event(_document(value), "delta")


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadAnswer("what is no JSON", _text(body)) from error
    if not isinstance(document, dict):
        raise BadAnswer("JSON that is no answer", _text(body))
    if document.get("error"):
        raise BadAnswer("an error", _error_words(document))
    return document


def _event(document: dict[str, Any], part: str) -> ServerEvent:
    """Return the event of a chunk, whose text is in its "delta", or of a whole answer, in its "message"."""
    usage = document.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    tokens = tokens if type(tokens) is int and tokens >= 0 else None
    choices = document.get("choices")
    if not isinstance(choices, list) or (not choices and part == "message"):
        raise BadAnswer("JSON without choices", str(document)[:_MOST_KEPT])
    if not choices:
        return ServerEvent(tokens=tokens)
    choice = choices[0]
    said = choice.get(part) if isinstance(choice, dict) else None
    # The last chunk of some servers has no delta, or null. `reasoning_content` is not the answer.
    text = said.get("content") if isinstance(said, dict) else None
    finished = choice.get("finish_reason") if isinstance(choice, dict) else None
    is_answer = isinstance(choice, dict) and isinstance(said, dict | None) and isinstance(text, str | None)
    if not is_answer or not isinstance(finished, str | None):
        raise BadAnswer("JSON that is no answer", str(document)[:_MOST_KEPT])
    return ServerEvent(text or "", finished or None, tokens, is_last=part == "message")


def _error_words(document: Any) -> str:
    """Return the message of {"error": {"message": ...}} and of what servers send instead."""
    for name in ("error", "message", "detail"):
        if isinstance(document, dict) and document.get(name):
            return _error_words(document[name])
    if isinstance(document, list) and document:
        return _error_words(document[0])
    if isinstance(document, dict):
        return _error_words(document["msg"] if document.get("msg") else str(document))
    return str(document)[:_MOST_KEPT] if document else ""


def _text(body: bytes) -> str:
    return body[:_MOST_KEPT].decode("utf-8", "replace")
