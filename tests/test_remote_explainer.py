"""A chat server by its URL, asked for real: what it says, every way it can break, and how that ends."""

import asyncio
import base64
import gzip
import io
import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faulty_servers import (
    DONE,
    WHOLE,
    Answering,
    Connection,
    Server,
    chunk,
    refusing,
    saying,
    serving,
    unused_url,
    well,
)
from PIL import Image

from medsiglip_search.errors import ExplainerFailed, ExplainerUnavailable
from medsiglip_search.explain.chat import Answer, Prompt
from medsiglip_search.explain.remote import RemoteLimits, RemoteModel, connect, read_key
from medsiglip_search.explain.server.breaker import Breaker
from medsiglip_search.explain.server.events import EventReader

LIMITS = RemoteLimits(most_bytes=200_000, retry_s=0.01, most_retry_s=1)
"""For servers that say something: no machine is so busy that these take as long as that may take."""

SILENT = replace(LIMITS, first_byte_s=0.3, read_s=0.3)
"""For servers that never say anything."""

SILENT_AFTERWARDS = replace(LIMITS, read_s=0.3)
ENDLESS = replace(LIMITS, total_s=3)

LONG_S = 60.0
"""No case here takes as long, unless something waits that must not."""

KEY = "sk-secret-0123456789"
PROMPT = Prompt(("What is on it?",), most_tokens=50)


class Asked:
    """What came of a question: the answer or the error, and the pieces until then."""

    def __init__(
        self,
        model: RemoteModel,
        prompt: Prompt = PROMPT,
        stop: threading.Event | None = None,
        on_piece: Callable[[], None] = lambda: None,
    ) -> None:
        self.pieces: list[str] = []
        self.answer: Answer | None = None
        self.error: ExplainerFailed | None = None

        def tell(piece: str) -> None:
            self.pieces.append(piece)
            on_piece()

        def ask() -> None:
            try:
                self.answer = model.generate(prompt, tell, stop or threading.Event())
            except ExplainerFailed as error:
                self.error = error

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(LONG_S)
        assert not asking.is_alive(), "it still waits"

    @property
    def problem(self) -> str:
        assert self.error is not None, self.answer
        assert "\n" not in str(self.error)
        assert KEY not in str(self.error)
        return str(self.error)


def ask(*answers: Answering, limits: RemoteLimits = LIMITS, **more: object) -> tuple[Asked, Server]:
    with serving(*answers) as server:
        return Asked(connect(server.url, "tiny", key=KEY, limits=limits, **more)), server


# What is asked


def test_a_text_is_sent_as_a_string_and_its_answer_told_in_pieces() -> None:
    asked, server = ask(well)
    assert asked.pieces == ["Small ", "effusion."]
    assert asked.answer is not None
    assert (asked.answer.text, asked.answer.ended, asked.answer.tokens) == ("Small effusion.", "whole", 2)
    assert 0 < asked.answer.first_token_s <= asked.answer.seconds
    [request] = server.requests
    assert request.head.startswith("POST /v1/chat/completions HTTP/1.1")
    assert f"authorization: bearer {KEY}" in request.head.lower()
    assert server.last_document == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "What is on it?"}],
        "temperature": 0,
        "max_tokens": 50,
        "stream": True,
    }


def test_pictures_are_sent_square_and_in_their_place() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    large = np.full((100, 1200, 3), 200, np.uint8)
    with serving(well) as server:
        Asked(connect(server.url, "tiny"), Prompt((wide, "first", large, "second")))
    content = server.last_document["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url", "text", "image_url", "text"]
    assert [part["text"] for part in content[1::2]] == ["first", "second"]
    sent = [decoded(part["image_url"]["url"]) for part in content[::2]]
    assert sent[0].shape == (60, 60, 3)
    assert np.array_equal(sent[0][10:50], wide)
    assert not sent[0][:10].any()
    assert not sent[0][50:].any()
    assert sent[1].shape == (896, 896, 3)
    assert (sent[1][448] == 200).all()


def decoded(url: str) -> np.ndarray:
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))


def test_a_text_that_is_no_unicode_is_sent_all_the_same() -> None:
    with serving(well) as server:
        asked = Asked(connect(server.url, "tiny"), Prompt(("a lone \ud800 surrogate",)))
    assert asked.answer is not None
    assert server.last_document["messages"][0]["content"] == "a lone \ud800 surrogate"


# What is understood


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_stream_may_be_cut_anywhere(size: int) -> None:
    stream = b": a comment\r\n\r\n" + b"".join(
        event.replace(b"\n", b"\r\n")
        for event in (
            b"event: message\nid: 1\nretry: 5\n",
            chunk(None),
            b'data: {"choices": [{"delta": {"content": null, "reasoning_content": "hm"}}]}\n\n',
            chunk("Über 2\u202fcm "),
            chunk("\U0001fac1"),
            chunk(finish="length"),
            b'data: {"choices": [], "usage": {"completion_tokens": 17}}\n\n',
            DONE,
        )
    )
    reader = EventReader()
    events = [event for at in range(0, len(stream), size) for event in reader.feed(stream[at : at + size])]
    assert "".join(event.text for event in events) == "Über 2\u202fcm \U0001fac1"
    assert [event.finished for event in events if event.finished] == ["length"]
    assert [event.tokens for event in events if event.tokens] == [17]
    assert [event.is_last for event in events] == [False] * (len(events) - 1) + [True]


def test_the_servers_count_of_tokens_counts() -> None:
    asked, _ = ask(saying(*WHOLE[:2], chunk(finish="length", usage={"completion_tokens": 9}), DONE))
    assert asked.answer is not None
    assert (asked.answer.ended, asked.answer.tokens) == ("length", 9)


def test_a_server_may_answer_in_one_document() -> None:
    document = {"choices": [{"message": {"content": "Normal."}, "finish_reason": "stop"}]}
    asked, _ = ask(saying(json.dumps(document).encode(), kind="application/json; charset=utf-8"))
    assert asked.answer is not None
    assert (asked.answer.text, asked.answer.ended, asked.pieces) == ("Normal.", "whole", ["Normal."])


@pytest.mark.parametrize("end", [(chunk(finish="stop"),), (DONE,), (DONE.strip(),)])
def test_either_end_is_an_end(end: tuple[bytes, ...]) -> None:
    asked, _ = ask(saying(chunk("Normal."), *end))
    assert asked.answer is not None
    assert (asked.answer.text, asked.answer.ended) == ("Normal.", "whole")


def test_a_server_that_stays_after_the_end_is_left() -> None:
    def answer(connection: Connection) -> None:
        connection.start()
        connection.send(chunk("Normal.") + chunk(finish="stop"))
        connection.hang()

    with serving(answer) as server:
        asked = Asked(connect(server.url, "tiny", limits=SILENT_AFTERWARDS))
        assert asked.answer is not None
        assert asked.answer.ended == "whole"
        assert server.requests[0].saw_close.wait(LONG_S)


def test_a_server_that_says_more_than_was_asked_is_cut() -> None:
    def answer(connection: Connection) -> None:
        connection.start()
        connection.flood(chunk("x" * 100))

    asked, _ = ask(answer)
    assert asked.answer is not None
    assert (len(asked.answer.text), asked.answer.ended) == (16 * 50, "length")


# What breaks once, and is asked for again


@pytest.mark.parametrize(
    "first",
    [
        refusing("429 Too Many Requests", "Retry-After: 0"),
        refusing("429 Too Many Requests", "Retry-After: Thu, 01 Jan 2026 00:00:00 GMT"),
        refusing("500 Internal Server Error", body=b'{"error": {"message": "out of memory"}}'),
        refusing("503 Service Unavailable", "Retry-After: soon"),
        lambda connection: None,
        lambda connection: connection.reset(),
        lambda connection: connection.hang(),
        saying(chunk(None)),
    ],
    ids=["429", "429-date", "500", "503", "closed", "reset", "silent", "cut-before-text"],
)
def test_what_may_pass_is_tried_once_more(first: Answering) -> None:
    # Long enough for the second time, and waited for by none but a silent server.
    asked, server = ask(first, well, limits=replace(LIMITS, first_byte_s=3, read_s=3))
    assert asked.answer is not None
    assert asked.answer.text == "Small effusion."
    assert len(server.requests) == 2


FAULTS: dict[str, tuple[Answering, int, str]] = {
    "429": (refusing("429 Too Many Requests", "Retry-After: 0"), 2, "is busy (429)"),
    "429-long": (refusing("429 Too Many Requests", "Retry-After: 3600"), 1, "is busy (429)"),
    "500": (
        refusing("500 Oh", body=b'{"error": {"message": "out of\\nmemory"}}'),
        2,
        "(500) (out of memory)",
    ),
    "silent": (lambda connection: connection.hang(), 2, "did not answer within 0.3 s"),
    "closed": (lambda connection: None, 2, "broke off before its answer was whole"),
    "not-http": (lambda connection: connection.send(b"SSH-2.0-OpenSSH\r\n"), 2, "broke off"),
    "html": (
        saying(b"<html>hello</html>", kind="text/html"),
        1,
        "sent a page and no answer; does its URL end in",
    ),
    "html-as-events": (saying(b"<html>\nhello"), 1, "sent what is no stream of events (<html>)"),
    "bad-json": (saying(b"data: {oops\n\n"), 1, "sent what is no JSON ({oops)"),
    "deep-json": (saying(b"data: " + b"[" * 100_000 + b"\n"), 1, "sent what is no JSON ([[["),
    "bad-document": (saying(b"oops", kind="application/json"), 1, "sent what is no JSON (oops)"),
    "no-choices": (saying(b'{"choices": []}', kind="application/json"), 1, "sent JSON without choices"),
    "no-text": (
        saying(b'data: {"choices": [{"delta": {"content": 7}}]}\n\n'),
        1,
        "sent JSON that is no answer",
    ),
    "list": (saying(b"data: [1, 2]\n\n"), 1, "sent JSON that is no answer ([1, 2])"),
    "error-inside": (
        saying(b'data: {"error": {"message": "no memory"}}\n\n'),
        1,
        "sent an error (no memory)",
    ),
    "error-line": (saying(b'error: {"message": "no memory"}\n\n'), 1, "sent an error (no memory)"),
    "redirect": (refusing("307 Temporary", "Location: http://example.org/"), 1, "redirects elsewhere (307)"),
    "401": (refusing("401 No", body=f'{{"error": "bad {KEY}"}}'.encode()), 1, "the key is wrong (bad (key))"),
    "403": (refusing("403 No", body=b"not for you", kind="text/plain"), 1, "the key is wrong (not for you)"),
    "404": (refusing("404 No", body=b'{"detail": "no model tiny"}'), 1, "path (404) (no model tiny)"),
    "400": (
        refusing("400 No", body=b'{"error": "' + b"long " * 900 + b'"}'),
        1,
        "was asked (400) (long long",
    ),
    "422": (refusing("422 No", body=b'{"detail": [{"msg": "bad field"}]}'), 1, "was asked (422) (bad field)"),
    "endless-line": (
        lambda c: (c.start(), c.flood(b"data: " + b"x" * 50_000)),
        1,
        "sent more than 200000 bytes",
    ),
    "endless-comments": (lambda c: (c.start(), c.flood(b": hi\n" * 9000)), 1, "sent more than 200000 bytes"),
    "endless-error": (lambda c: (c.start("400 No"), c.flood(b"x" * 50_000)), 1, "was asked (400) (xxx"),
    "endless-document": (
        lambda c: (c.start("200 OK", "application/json"), c.flood(b" " * 50_000)),
        1,
        "sent more than 200000 bytes",
    ),
    "drip": (lambda c: (c.start(), c.drip(b":\n", 0.05)), 1, "did not finish within 3 s"),
    "drip-head": (lambda c: c.drip(b"H", 0.05), 1, "did not finish within 3 s"),
    "gzip": (
        refusing(
            "200 OK", "Content-Encoding: gzip", body=gzip.compress(b" " * 10**6), kind="text/event-stream"
        ),
        1,
        "a compressed answer that was not asked for",
    ),
}


WAITED_FOR = {"silent": SILENT, "drip": ENDLESS, "drip-head": ENDLESS}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_breaks_is_told(fault: str) -> None:
    answer, times, told = FAULTS[fault]
    asked, server = ask(answer, limits=WAITED_FOR.get(fault, LIMITS))
    assert told in asked.problem
    assert asked.problem.startswith(server.url)
    assert len(asked.problem) < 400
    assert (len(server.requests), asked.pieces) == (times, [])


def test_a_line_without_an_end_is_not_kept() -> None:
    limits = RemoteLimits(most_bytes=10**8)
    asked, _ = ask(lambda c: (c.start(), c.flood(b"data: " + b"x" * 60_000)), limits=limits)
    assert "a line of more than 256 KiB" in asked.problem


def test_nobody_there() -> None:
    asked = Asked(connect(unused_url(), "tiny", limits=LIMITS))
    assert "cannot be reached; is it running?" in asked.problem


def test_a_missing_key_is_told_as_missing() -> None:
    with serving(refusing("401 Unauthorized")) as server:
        asked = Asked(connect(server.url, "tiny", limits=LIMITS))
    assert "it wants a key: --key-file or MEDSIGLIP_EXPLAINER_KEY" in asked.problem
    assert "--reader-key-file or MEDSIGLIP_READER_KEY" in asked.problem
    assert "authorization" not in server.requests[0].head.lower()


# After the first token


@pytest.mark.parametrize(
    ("rest", "told", "limits"),
    [
        (lambda connection: None, "ended the connection in the middle of the answer", LIMITS),
        (lambda connection: connection.reset(), "broke off before its answer was whole", LIMITS),
        (lambda connection: connection.hang(), "sent nothing for 0.3 s", SILENT_AFTERWARDS),
        (lambda connection: connection.send(b"data: {oops\n\n"), "sent what is no JSON", LIMITS),
        (lambda connection: connection.send(b'data: {"error": "full"}\n\n'), "sent an error (full)", LIMITS),
        (lambda connection: connection.flood(b":" * 9999 + b"\n"), "sent more than 200000 bytes", LIMITS),
        (lambda connection: connection.drip(b":\n", 0.05), "did not finish within 3 s", ENDLESS),
    ],
    ids=["cut", "reset", "silent", "bad-json", "error", "flood", "drip"],
)
def test_what_was_said_is_kept_and_not_asked_for_again(
    rest: Answering, told: str, limits: RemoteLimits
) -> None:
    heard = threading.Event()

    def answer(connection: Connection) -> None:
        connection.start()
        connection.send(chunk("Small "))
        heard.wait(LONG_S)  # a reset takes what was not read with it
        rest(connection)

    with serving(answer) as server:
        asked = Asked(connect(server.url, "tiny", limits=limits), on_piece=heard.set)
    assert told in asked.problem
    assert asked.error is not None
    assert (asked.error.said, asked.pieces, len(server.requests)) == ("Small ", ["Small "], 1)


# Cancelled


def later(stop: threading.Event, seconds: float = 0.2) -> None:
    threading.Timer(seconds, stop.set).start()


PATIENT = RemoteLimits(first_byte_s=600, read_s=600, total_s=600, retry_s=9, most_retry_s=60)
"""Beyond LONG_S: only a stop ends these."""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda c: c.hang(), ""),
        (lambda c: (c.start(), c.hang()), ""),
        (lambda c: (c.start(), c.send(chunk("Small ")), c.hang()), "Small "),
        (lambda c: (c.start(), c.drip(b":\n", 0.01)), ""),
    ],
    ids=["no-head", "no-body", "mid-stream", "drip"],
)
def test_an_unwanted_answer_ends_at_once_and_the_server_sees_it(answer: Answering, said: str) -> None:
    stop = threading.Event()

    def answered(connection: Connection) -> None:
        if not said:
            later(stop)
        answer(connection)

    with serving(answered) as server:
        model = connect(server.url, "tiny", limits=PATIENT)
        asked = Asked(model, stop=stop, on_piece=lambda: later(stop))
        assert asked.answer is not None
        assert (asked.answer.ended, asked.answer.text) == ("cancelled", said)
        assert server.requests[0].saw_close.wait(LONG_S)


@pytest.mark.parametrize("header", ["Retry-After: 30", "X: y"])
def test_the_wait_for_another_try_can_be_cancelled(header: str) -> None:
    stop = threading.Event()

    def busy(connection: Connection) -> None:
        refusing("429 Too Many Requests", header)(connection)
        later(stop)

    with serving(busy) as server:
        asked = Asked(connect(server.url, "tiny", limits=PATIENT), stop=stop)
    assert asked.answer is not None
    assert (asked.answer.ended, len(server.requests)) == ("cancelled", 1)


def test_what_is_not_wanted_from_the_start_is_not_asked() -> None:
    stop = threading.Event()
    stop.set()
    with serving(well) as server:
        asked = Asked(connect(server.url, "tiny"), stop=stop)
    assert asked.answer is not None
    assert (asked.answer.ended, server.requests) == ("cancelled", [])


def test_a_listener_that_breaks_ends_the_call() -> None:
    def broken(piece: str) -> None:
        raise KeyError(piece)

    with serving(lambda c: (c.start(), c.send(chunk("Small ")), c.hang())) as server:
        with pytest.raises(KeyError):
            connect(server.url, "tiny", limits=PATIENT).generate(PROMPT, broken, threading.Event())
        assert server.requests[0].saw_close.wait(LONG_S)


def test_no_files_left_for_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_loop() -> None:
        raise OSError(24, "Too many open files")

    with serving(well) as server:
        model = connect(server.url, "tiny", limits=LIMITS)
        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "new_event_loop", no_loop)
            patched.setattr(asyncio.events, "new_event_loop", no_loop)
            assert "cannot be asked (Too many open files)" in Asked(model).problem
        assert Asked(model).answer is not None


# After failures running


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


BROKEN = refusing("500 Oh")


def test_a_server_that_keeps_failing_is_left_alone_for_a_minute() -> None:
    clock = Clock()
    with serving(*[BROKEN] * 8, well) as server:
        model = connect(server.url, "tiny", limits=LIMITS, breaker=Breaker(clock=clock))
        for _ in range(3):
            assert "broke down (500)" in Asked(model).problem
        assert len(server.requests) == 6
        clock.now_s += 20
        assert Asked(model).problem.endswith("not asked: failed 3 times running; asked again in 40 s")
        assert len(server.requests) == 6
        clock.now_s += 40
        assert "broke down (500)" in Asked(model).problem  # the one trial
        assert "asked again in 60 s" in Asked(model).problem
        assert len(server.requests) == 8
        clock.now_s += 60
        assert Asked(model).answer is not None
        assert Asked(model).answer is not None
    assert len(server.requests) == 10


def test_an_answer_forgives_the_failures_before_it() -> None:
    with serving(BROKEN, BROKEN, BROKEN, BROKEN, well, BROKEN) as server:
        model = connect(server.url, "tiny", limits=LIMITS)
        asked = [Asked(model) for _ in range(5)]
    assert [each.answer is not None for each in asked] == [False, False, True, False, False]
    assert "broke down" in asked[-1].problem


def test_neither_a_cancelled_nor_a_refused_question_is_a_failure_of_the_server() -> None:
    with serving(*[refusing("400 Too long")] * 4, lambda c: c.hang()) as server:
        model = connect(server.url, "tiny", limits=PATIENT)
        for _ in range(4):
            assert "refused what it was asked (400)" in Asked(model).problem
        for _ in range(4):
            stop = threading.Event()
            later(stop, 0.05)
            asked = Asked(model, stop=stop)
            assert asked.answer is not None
            assert asked.answer.ended == "cancelled"


def test_only_one_trial_at_a_time() -> None:
    clock = Clock()
    breaker = Breaker(most=1, pause_s=60, clock=clock)
    breaker.failed()
    clock.now_s += 61
    assert breaker.wait_s() == 0
    assert breaker.wait_s() == 1
    breaker.given_up()
    assert breaker.wait_s() == 0
    breaker.worked()
    assert [breaker.wait_s(), breaker.wait_s()] == [0, 0]


# Where it may be


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://127.8.0.1:8000/", "http://127.8.0.1:8000/v1"),
        (" http://[::1]:8000/v1/ ", "http://[::1]:8000/v1"),
        ("http://localhost/v1/chat/completions", "http://localhost/v1"),
        ("http://localhost/chat/completions", "http://localhost/v1"),
        ("HTTP://LOCALHOST/models/tiny", "http://localhost/models/tiny"),
    ],
)
def test_a_server_on_this_machine(url: str, base: str) -> None:
    model = connect(url, "tiny")
    assert (model.revision, model.name) == (base, "tiny")


ELSEWHERE = [
    "https://example.org/v1",
    "http://10.0.0.1:8000",
    "http://0.0.0.0:1",
    "http://localhost.example.org",
]


@pytest.mark.parametrize("url", ELSEWHERE)
def test_nothing_leaves_this_machine_unless_it_may(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ExplainerUnavailable, match="would leave this machine; pass --allow-upload"):
        connect(url, key=KEY)
    model = connect(url, "tiny", key=KEY, may_upload=True)
    assert model.revision == url.removesuffix("/v1") + "/v1"
    warned = "reports and the key can be read on the way" in caplog.text
    assert warned == url.startswith("http:")
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://localhost/v1", "none of a web server"),
        ("localhost:8000", "none of a web server"),
        ("http://", "none of a web server"),
        ("", "none of a web server"),
        ("http://localhost:99999999/", "none of a web server"),
        ("http://local\x00host/", "cannot be read"),
        ("http://u:sk-secret@localhost/v1", "holds a user or password"),
        ("http://127.0.0.1:80@example.org/", "holds a user or password"),
        ("http://localhost/v1?key=sk-secret", "a query or a fragment"),
    ],
)
def test_what_is_no_url_of_a_server(url: str, told: str) -> None:
    with pytest.raises(ExplainerUnavailable, match=told) as caught:
        connect(url, "tiny", may_upload=True)
    assert "sk-secret" not in str(caught.value)


def test_a_proxy_of_the_environment_does_not_get_what_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, unused_url())
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    asked, _ = ask(well)
    assert asked.answer is not None


def test_a_proxy_gets_what_may_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(well) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        asked = Asked(connect("http://elsewhere.invalid", "tiny", may_upload=True, limits=LIMITS))
    assert asked.answer is not None
    assert proxy.requests[0].head.startswith("POST http://elsewhere.invalid/v1/chat/completions")


def test_a_bad_proxy_variable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "nonsense://1.2.3.4")
    monkeypatch.setenv("http_proxy", "nonsense://1.2.3.4")
    asked = Asked(connect("http://elsewhere.invalid", "tiny", may_upload=True, limits=LIMITS))
    assert "look at the proxy and SSL variables" in asked.problem


# Its models


def listing(*names: str) -> Answering:
    document = {"object": "list", "data": [{"id": name} for name in names]}
    return saying(json.dumps(document).encode(), kind="application/json")


def test_the_only_model_is_taken() -> None:
    with serving(listing("medgemma"), well) as server:
        model = connect(server.url, key=KEY)
    assert model.name == "medgemma"
    assert server.requests[0].head.startswith("GET /v1/models ")
    assert f"authorization: bearer {KEY}" in server.requests[0].head.lower()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (listing("a", "b"), "has 2 models; choose with --model: a, b$"),
        (listing(*(f"m{number}" for number in range(12))), "12 models.*: m0, .*, m9 and 2 more$"),
        (listing(), "lists no model; name it with --model"),
        (saying(b"<html>", kind="text/html"), "does not list its models"),
        (saying(b'{"data": 7}', kind="application/json"), "does not list its models"),
        (refusing("404 No"), r"no such model or path \(404\); or name its model with --model"),
        (lambda c: c.hang(), "did not answer within 0.3 s; or name"),
        (lambda c: (c.start(), c.drip(b" ", 0.05)), "did not answer within 0.3 s; or name"),
        (lambda c: (c.start(), c.flood(b" " * 9999)), "sent more than 200000 bytes; or name"),
    ],
    ids=["two", "twelve", "none", "html", "other", "404", "silent", "drip", "flood"],
)
def test_models_that_cannot_be_chosen_from(answer: Answering, told: str) -> None:
    limits = SILENT if "within 0.3 s" in told else LIMITS
    with serving(answer) as server, pytest.raises(ExplainerUnavailable, match=told):
        connect(server.url, limits=limits)


# Its key


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_is_read_from_a_file_before_the_environment(tmp_path: Path) -> None:
    environment = {"MEDSIGLIP_EXPLAINER_KEY": f" {KEY}\n"}
    assert read_key(write(tmp_path / "key", "first\nsecond\n"), environment) == "first"
    assert read_key(None, environment) == KEY
    assert read_key(None, {}) is None
    assert read_key(None, {"MEDSIGLIP_EXPLAINER_KEY": " "}) is None


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
def test_a_key_that_others_can_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert read_key(write(tmp_path / "key", KEY), {}) == KEY
    assert caplog.text == ""
    assert read_key(write(tmp_path / "key", KEY, 0o644), {}) == KEY
    assert "others on this machine can read the key" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "text", ["", "\nkey on the second line", "two words", "sch\u00fcssel", "\x00", "x" * 9000]
)
def test_what_is_no_key(tmp_path: Path, text: str) -> None:
    with pytest.raises(ExplainerUnavailable, match="holds no key") as caught:
        read_key(write(tmp_path / "key", text), {})
    assert len(str(caught.value)) < 300
    assert "two words" not in str(caught.value)


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ExplainerUnavailable, match="the key cannot be read"):
            read_key(path, {})


def test_a_key_is_in_no_log_and_no_text_of_the_model(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo: Callable[[Connection], None] = refusing("500 Oh", body=f"you sent {'x' * 190} {KEY}".encode())
    with serving(echo) as server:
        model = connect(server.url, "tiny", key=KEY, limits=LIMITS)
        problem = Asked(model).problem
    assert "sk-" not in problem
    assert KEY not in caplog.text
    assert KEY not in repr(model)
    assert KEY not in repr(vars(model))
