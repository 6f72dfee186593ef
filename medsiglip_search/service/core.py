"""The parts of a running service, put together once and shared by routes and pages."""

import asyncio
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from contextlib import ExitStack

from medsiglip_search.errors import InvalidQuery, NotFound, TooManyRequests
from medsiglip_search.explain.gathering import FileOf
from medsiglip_search.files import write_file
from medsiglip_search.images.guard import Guard
from medsiglip_search.service.access.authenticating import Access
from medsiglip_search.service.access.hosts import is_loopback, network_of
from medsiglip_search.service.access.rates import Rates
from medsiglip_search.service.asking import Asked, Link, Upload, canonical
from medsiglip_search.service.audit import AuditLog, Event
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.classifying import Classifiers
from medsiglip_search.service.explaining import Explaining
from medsiglip_search.service.galleries import Galleries, OpenGallery
from medsiglip_search.service.jobs.running import Jobs
from medsiglip_search.service.kept import Kept
from medsiglip_search.service.metrics import Metrics
from medsiglip_search.service.settings import ServiceSettings
from medsiglip_search.service.tabs import Tabs

GUARD_WORKERS = 2
JOBS_GRACE_S = 15.0
"""How long jobs may take to end cleanly when the service does."""

LINKS = 500
"""So many searches of one user can be gone back to."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Service:
    """All that requests share. `start` it before the first and `close` it after the last.

    ending: set when no new requests come, for answers that would go on for ever.
    """

    def __init__(self, settings: ServiceSettings, access: Access, file_of: FileOf) -> None:
        """Take the settings. access: who may come in. file_of: opens the files of archives."""
        limits = settings.limits
        self.settings = settings
        self.access = access
        self.file_of = file_of
        self.metrics = Metrics()
        self.ending = asyncio.Event()
        self.tabs = Tabs()
        self.audit = AuditLog(settings.state, settings.galleries.keys())
        self.galleries = Galleries(settings.galleries, settings.device, self.metrics.batch.observe)
        self.classifiers = Classifiers()
        self.guard = Guard(GUARD_WORKERS)
        self.rates = Rates(limits.requests_per_minute, limits.burst)
        self._seldom = Rates(per_minute=1, burst=1)
        self.uploads: Kept[Upload] = Kept(
            "picture",
            seconds=limits.kept_s,
            most=limits.uploads,
            most_bytes=limits.upload_bytes,
            most_bytes_in_all=limits.upload_bytes_in_all,
        )
        self.links: Kept[Link] = Kept("link", seconds=limits.kept_s, most=LINKS)
        self.jobs = Jobs(settings.state / "jobs")
        self.explaining = Explaining(settings.explainer, settings.explainer_access, self.guard, file_of)
        self._digest_key = _kept_secret(settings)

    def start(self) -> None:
        """Load the galleries; returns at once, and they can be asked as they come."""
        self.galleries.start()

    def close(self) -> None:
        """Answer what waits, end jobs cleanly and let go of everything."""
        with ExitStack() as stack:
            stack.callback(self.audit.close)
            stack.callback(self.guard.close)
            stack.callback(self.galleries.close)
            stack.callback(lambda: self.jobs.close(JOBS_GRACE_S))

    def cookie(self, name: str) -> str:
        """Return what a cookie is called: under HTTPS so that no other host, nor a page by HTTP, sets it."""
        return f"__Host-{name}" if self.settings.is_secure else name

    def record_seldom(self, event: Event) -> None:
        """Record the first event of a minute of its kind, by one user and from one address.

        For what anybody can cause as often as they like, so that nobody without a key fills the disk, and for
        what pages look at again and again. Raises AuditUnavailable.
        """
        principal = event.caller.principal
        try:
            self._seldom.spend(f"{event.action} {principal.owner} {network_of(event.caller.address)}")
        except TooManyRequests:
            return
        self.audit.record(event)

    @property
    def hosts(self) -> frozenset[str]:
        """The names under which it may be asked, in lower case."""
        own = {self.settings.host.strip("[]")} | (LOOPBACK if is_loopback(self.settings.host) else set())
        return frozenset(name.lower() for name in (*own, *self.settings.hosts))

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may send requests, in lower case."""
        if self.settings.origins:
            return frozenset(origin.lower().rstrip("/") for origin in self.settings.origins)
        scheme = "https" if self.settings.is_secure else "http"
        ports = ["", f":{self.settings.port}"]
        names = [f"[{name}]" if ":" in name else name for name in self.hosts]
        return frozenset(f"{scheme}://{name}{port}" for name in names for port in ports)

    def gallery(self, caller: Caller, name: str) -> OpenGallery:
        """Return the gallery of a name. Raises NotFound if there is none that the caller may use."""
        if not caller.principal.may_use(name) or name not in self.galleries:
            raise NotFound("there is no such gallery for you; GET /v1/galleries lists those that there are")
        return self.galleries[name]

    @property
    def places(self) -> dict[str, str]:
        """What is said of places on the server, where a message names one."""
        settings = self.settings
        named = {str(path): f"gallery {name}" for name, path in settings.galleries.items()}
        named |= {place: f"archive {name}" for name, place in settings.archives.items()}
        return {**named, str(settings.state): "the service's folder"}

    def visible_columns(self, gallery: OpenGallery) -> list[str]:
        """Return the columns that answers tell and that may be filtered by; none while it is not ready.

        By the place of its archive nobody can ask: what a filter compares it also tells.
        """
        if not gallery.is_ready:
            return []
        left_out = self.settings.hidden | {"archive"}
        return [column for column in gallery.view.gallery.columns() if column not in left_out]

    def archive_name(self, place: str) -> str:
        """Return how users know an archive: its name in the settings, or else one that says nothing of it."""
        names = {path: name for name, path in self.settings.archives.items()}
        return names.get(place) or f"archive-{self._keyed(os.fsencode(place))[:6]}"

    def digest(self, texts: Iterable[str]) -> str:
        """Return by what the audit knows what was asked: the same for the same words, of no use elsewhere.

        Raises InvalidQuery for half a character, which JSON can hold ("\\ud800") and no text can.
        """
        try:
            return self._keyed("\0".join(texts).encode())
        except UnicodeEncodeError:
            raise InvalidQuery("the words hold half a character; write the character itself") from None

    def digest_of(self, caller: Caller, asked: Asked) -> str:
        """Return by what the audit knows a question: the same for the same one, whichever page is shown.

        Filters count, and what uploads show. Raises InvalidQuery, Gone for an upload.
        """
        owner = caller.principal.owner
        pictures = [self.uploads.get(owner, one.upload).digest for one in asked.images]
        return self.digest([canonical(asked, pictures)])

    def _keyed(self, content: bytes) -> str:
        return hmac.new(self._digest_key, content, hashlib.sha256).hexdigest()[:16]


def _kept_secret(settings: ServiceSettings) -> bytes:
    """Return the key of the digests in the audit, made on the first start."""
    path = settings.state / "digest.key"
    if not path.exists():
        os.makedirs(settings.state, mode=0o700, exist_ok=True)
        write_file(path, secrets.token_bytes(32), mode=0o600)
    return path.read_bytes()
