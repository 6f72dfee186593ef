"""The process: what is put together, and how it begins and ends."""

import contextlib
import logging
import os
import shutil
import socket
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from medsiglip_search.explain.gathering import FileOf
from medsiglip_search.service.access.authenticating import Access, AccessSettings
from medsiglip_search.service.access.keys import KeyStore
from medsiglip_search.service.access.rates import Rates
from medsiglip_search.service.app import MountPages, create_app
from medsiglip_search.service.connections import MOST_CONNECTIONS, TimedProtocol
from medsiglip_search.service.core import Service
from medsiglip_search.service.listening import BACKLOG
from medsiglip_search.service.logs import log_to_stderr
from medsiglip_search.service.settings import ServiceSettings

GRACE_S = 20
"""How long answers that have begun may take when the service ends."""

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """A server that first ends what would never end by itself, and then waits for answers that have begun."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.ending.set()
        await super().shutdown(sockets)


def use_private_folder(state: Path) -> None:
    """Let the library of the pages, before it is loaded, keep its files in private.

    Its folder is emptied: whatever an earlier service left there goes.
    """
    folder = state / "cache"
    shutil.rmtree(folder, ignore_errors=True)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)


def build(settings: ServiceSettings, access: AccessSettings, file_of: FileOf) -> Service:
    """Return a service of these settings. Raises AuditUnavailable, Unavailable, ExplainerUnavailable."""
    failures = Rates(settings.limits.logins_per_minute, settings.limits.logins_per_minute, "failed logins")
    return Service(settings, Access(access, KeyStore(settings.state), failures=failures), file_of)


def server_config(app: ASGIApp) -> uvicorn.Config:
    """Return how an application is served."""
    return uvicorn.Config(
        app,
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        http=TimedProtocol,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=GRACE_S,
        # Behind a proxy on this machine the other end is who asked the proxy.
        proxy_headers=True,
        forwarded_allow_ips="127.0.0.1,::1",
    )


def run(
    settings: ServiceSettings,
    access: AccessSettings,
    file_of: FileOf,
    mount_pages: MountPages | None,
    listener: socket.socket,
) -> None:
    """Serve until the process is told to end (SIGTERM, Ctrl-C); answers that have begun are finished."""
    service = build(settings, access, file_of)
    app = create_app(service, mount_pages)
    log_to_stderr()
    log.info("begins", extra={"fields": {"galleries": len(settings.galleries)}})
    try:
        # The server ends in good order, and only then passes the signal on that told it to.
        with contextlib.suppress(KeyboardInterrupt):
            Server(server_config(app), service).run([listener])
    finally:
        shutil.rmtree(settings.state / "cache", ignore_errors=True)
    log.info("ends")
