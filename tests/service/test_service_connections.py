"""Connections that say too little, on a real server."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from serving import Served, serving
from starlette.types import Receive, Scope, Send

from medsiglip_search.service.connections import MOST_CONNECTIONS, TimedProtocol
from medsiglip_search.service.listening import listening
from medsiglip_search.service.running import server_config
from medsiglip_search.service.settings import ServiceLimits

HEAD_S = 0.3
WHOLE = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


class Hasty(TimedProtocol):
    head_s = HEAD_S


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer later than a head may come, and without a look at the body."""
    await asyncio.sleep(3 * HEAD_S)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(slow, http=Hasty, log_config=None, lifespan="off", timeout_keep_alive=60)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()
        server.should_exit = True
        thread.join()


def rest(channel: socket.socket) -> bytes:
    """Return what comes until the other end closes."""
    said = b""
    while piece := channel.recv(65_536):
        said += piece
    return said


@pytest.mark.parametrize("begun", [b"", b"GET / HT", WHOLE[:-2]])
def test_a_request_that_does_not_begin_is_not_waited_for(address: tuple[str, int], begun: bytes) -> None:
    with socket.create_connection(address, timeout=60) as channel:
        channel.sendall(begun)
        assert rest(channel) == b""


def test_an_answer_may_take_longer_and_the_next_request_as_long_as_the_first(
    address: tuple[str, int],
) -> None:
    with socket.create_connection(address, timeout=60) as channel:
        channel.sendall(WHOLE + WHOLE)
        channel.sendall(WHOLE[:-2])
        assert rest(channel).count(b"HTTP/1.1 200 OK") == 2


def test_a_body_that_nobody_reads_is_not_waited_for(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=60) as channel:
        channel.sendall(WHOLE[:-2] + b"Content-Length: 1000\r\n\r\nx")
        assert rest(channel).count(b"HTTP/1.1 200 OK") == 1


def test_a_body_must_come_whole_in_time_however_steadily_it_comes(demo_gallery: Path, tmp_path: Path) -> None:
    limits = ServiceLimits(body_wait_s=60, body_s=0.3)
    with serving({"demo": demo_gallery}, tmp_path / "state", limits=limits) as running:
        host = urlsplit(running.url)
        with socket.create_connection((host.hostname, host.port), timeout=60) as channel:
            head = "POST /v1/galleries/demo/searches HTTP/1.1\r\nContent-Type: application/json\r\n"
            channel.sendall(f'{head}Host: {host.netloc}\r\nContent-Length: 1000\r\n\r\n{{"text'.encode())
            assert channel.recv(65_536).startswith(b"HTTP/1.1 503")


def test_the_service_is_served_so(served: Served) -> None:
    config = server_config(served.app)
    assert (config.http, config.limit_concurrency) == (TimedProtocol, MOST_CONNECTIONS)


def test_no_piece_of_an_answer_waits_for_the_other_end_to_confirm_the_one_before() -> None:
    with listening("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
