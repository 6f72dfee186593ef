"""The real command `serve` in a process of its own, with all that it writes and whom it calls noted."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

READY_S = 180.0

# Loaded by every Python process that is started, decoders and jobs too (`sitecustomize`).
_WATCHER = """
import os, sys
def note(event, arguments):
    if event == "socket.connect" or event == "socket.sendto":
        address = arguments[1]
    elif event == "socket.getaddrinfo":
        address = arguments[:2]
    else:
        return
    with open(os.environ["CALLED"], "a") as called:
        called.write(f"{event} {address!r}\\n")
sys.addaudithook(note)
"""


@dataclass(frozen=True)
class ServiceProcess:
    """A running service. log: what it wrote; called: the addresses that it or its children asked for."""

    url: str
    state: Path
    folder: Path
    child: subprocess.Popen

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def called(self) -> list[str]:
        file = self.folder / "called"
        return file.read_text().splitlines() if file.exists() else []

    def client(self, key: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)


@contextlib.contextmanager
def service_process(
    folder: Path, state: Path, arguments: Sequence[str | Path], needs_keys: bool = False
) -> Iterator[ServiceProcess]:
    """Run `serve` until the block ends, and then end it as a system does; its galleries are loaded before."""
    watching = folder / "watching"
    watching.mkdir(parents=True)
    (watching / "sitecustomize.py").write_text(_WATCHER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from medsiglip_search.cli import main; main()", "serve"]
    options = ["--state", str(state), "--port", str(port), *(["--keys"] if needs_keys else [])]
    with open(folder / "log", "wb") as log:
        child = subprocess.Popen(
            [*command, *map(str, arguments), *options],
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": str(watching), "CALLED": str(folder / "called")},
        )
    try:
        running = ServiceProcess(f"http://127.0.0.1:{port}", state, folder, child)
        _wait_until_ready(running)
        yield running
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) in (0, -signal.SIGTERM), running.log
    finally:
        child.kill()
        child.wait()


def _wait_until_ready(running: ServiceProcess) -> None:
    ends = time.monotonic() + READY_S
    with httpx.Client(base_url=running.url, timeout=60) as client:
        while time.monotonic() < ends:
            assert running.child.poll() is None, running.log
            with contextlib.suppress(httpx.TransportError):
                if client.get("/readyz").status_code == 200:
                    return
            time.sleep(0.2)
    raise AssertionError(f"not ready: {running.log}")
