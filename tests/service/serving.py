"""A real service on a free port of this machine, for tests that ask it over HTTP or look at its pages."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from indexer.files import ArchiveFiles
from medsiglip_search.service.access.authenticating import AccessSettings
from medsiglip_search.service.access.keys import KeyStore
from medsiglip_search.service.app import create_app
from medsiglip_search.service.callers import Role
from medsiglip_search.service.core import Service
from medsiglip_search.service.listening import listening
from medsiglip_search.service.running import Server, build
from medsiglip_search.service.settings import ServiceSettings
from ui.app import mount_pages

READY_S = 120.0
OPEN = AccessSettings()


@dataclass(frozen=True)
class Served:
    """A running service. url: without a slash at its end."""

    url: str
    service: Service
    app: FastAPI

    def client(self, key: str | None = None, **options: Any) -> httpx.Client:
        """Return a client of its API, with this key if there is one."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **options)

    def key(self, name: str, role: Role = "reader", galleries: frozenset[str] | None = None) -> str:
        """Return a new key; a name that another test has taken gets a number."""
        store = KeyStore(self.service.settings.state)
        known = store.keys()
        taken = {key.name for key in known}
        names = (name, *(f"{name} {number}" for number in range(2, 1000)))
        free = next(one for one in names if one not in taken)
        return store.add(free, role, galleries, expires=None)[1]

    def revoke(self, key: str) -> None:
        """Take a key back."""
        KeyStore(self.service.settings.state).revoke(key.split("_")[1])


@contextlib.contextmanager
def serving(
    galleries: Mapping[str, Path],
    state: Path,
    access: AccessSettings = OPEN,
    port: int = 0,
    **settings: Any,
) -> Iterator[Served]:
    """Serve galleries in a thread until the block ends; they are loaded when it begins.

    port: 0 for a free one.
    """
    with listening("127.0.0.1", port) as listener:
        port = listener.getsockname()[1]
        service = build(
            ServiceSettings(galleries=galleries, state=state, port=port, **settings), access, ArchiveFiles()
        )
        app = create_app(service, mount_pages)
        config = uvicorn.Config(app, log_config=None, access_log=False)
        server = Server(config, service)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            served = Served(f"http://127.0.0.1:{port}", service, app)
            _wait_until_ready(served, thread)
            yield served
        finally:
            server.should_exit = True
            thread.join()


def _wait_until_ready(served: Served, thread: threading.Thread) -> None:
    for gallery in served.service.galleries.values():
        assert gallery.loaded.wait(READY_S), gallery.problem
    transport = httpx.HTTPTransport(retries=5)
    with httpx.Client(base_url=served.url, transport=transport, timeout=60) as client:
        assert client.get("/readyz").status_code == 200
    assert thread.is_alive()
