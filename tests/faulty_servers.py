"""HTTP servers in threads that answer as they are told to: well, wrongly, slowly, without an end, or not."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Answering = Callable[["Connection"], None]


def chunk(text: str | None = None, finish: str | None = None, **more: object) -> bytes:
    """An event of a stream, as OpenAI-compatible servers send it."""
    delta = {} if text is None else {"content": text}
    document = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
WHOLE = (chunk("Small "), chunk("effusion."), chunk(finish="stop"), DONE)


@dataclass(frozen=True, slots=True)
class Connection:
    """A request and the way to answer it.

    is_over: set when the server shuts down. saw_close: set when the client has gone before the answer's end.
    """

    socket: socket.socket
    head: str
    body: bytes
    is_over: threading.Event
    saw_close: threading.Event

    def start(self, status: str = "200 OK", kind: str = "text/event-stream", *more: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", "Connection: close", *more]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def send(self, *data: bytes) -> None:
        for each in data:
            self.socket.sendall(each)

    def hang(self) -> None:
        """Say nothing more until the client goes."""
        self.socket.settimeout(0.05)
        while not self.is_over.is_set():
            try:
                if not self.socket.recv(1000):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        if not self.is_over.is_set():
            self.saw_close.set()

    def flood(self, data: bytes) -> None:
        """Send the same without an end, until the client goes."""
        try:
            while not self.is_over.is_set():
                self.socket.sendall(data)
        except OSError:
            self.saw_close.set()

    def drip(self, data: bytes, every_s: float) -> None:
        """Send the same now and then, until the client goes."""
        with suppress(OSError):
            while not self.is_over.wait(every_s):
                self.socket.sendall(data)
        if not self.is_over.is_set():
            self.saw_close.set()

    def reset(self) -> None:
        """Drop the connection as a crash does: the client gets a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()


@dataclass(slots=True)
class Server:
    """url: of its base. requests: all that it was asked, in their order."""

    url: str
    requests: list[Connection] = field(default_factory=list)

    @property
    def last_document(self) -> dict:
        return json.loads(self.requests[-1].body)


@contextmanager
def serving(*answers: Answering) -> Iterator[Server]:
    """Yield a server of this machine that answers its first request by the first, and so on.

    The last way of answering is also that of all further requests.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()
    server = Server(f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
    threads: list[threading.Thread] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            if is_over.is_set():
                connection.close()
                return
            threads.append(threading.Thread(target=_answer, args=(connection, server, answers, is_over)))
            threads[-1].start()

    accepting = threading.Thread(target=serve)
    accepting.start()
    try:
        yield server
    finally:
        is_over.set()
        with suppress(OSError):
            socket.create_connection(listening.getsockname(), 1).close()  # wakes the thread that accepts
        accepting.join(5)
        listening.close()
        for thread in threads:
            thread.join(5)


def _answer(
    connection: socket.socket, server: Server, answers: Sequence[Answering], is_over: threading.Event
) -> None:
    connection.settimeout(60)
    with connection, suppress(OSError):
        head, body = _request(connection)
        asked = Connection(connection, head, body, is_over, threading.Event())
        server.requests.append(asked)
        answers[min(len(server.requests), len(answers)) - 1](asked)


def _request(connection: socket.socket) -> tuple[str, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            raise OSError("gone")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    size = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ),
        0,
    )
    while len(body) < size:
        body += connection.recv(65536)
    return head.decode("latin-1"), body


def well(connection: Connection) -> None:
    connection.start()
    connection.send(*WHOLE)


def saying(*data: bytes, kind: str = "text/event-stream") -> Answering:
    """Answer with these bytes, and close."""

    def answer(connection: Connection) -> None:
        connection.start("200 OK", kind)
        connection.send(*data)

    return answer


def refusing(status: str, *more: str, body: bytes = b"", kind: str = "application/json") -> Answering:
    """Answer with an error, further headers and a body."""

    def answer(connection: Connection) -> None:
        connection.start(status, kind, *more)
        connection.send(body)

    return answer


def unused_url() -> str:
    """The URL of a port of this machine at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"
