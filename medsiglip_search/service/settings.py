"""What a service is told when it starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from medsiglip_search.explain.opening import Access

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """What one user, or one request, may take.

    body_bytes: of a request. body_wait_s: until its next piece comes; body_s: until it is whole.
    text_chars: of a query. top_k: hits of a page.
    requests_per_minute, burst: of one user; what a page's own files take is not counted.
    logins_per_minute: failed ones, of one address.
    uploads, upload_bytes: of one user; upload_bytes_in_all: of everybody. The oldest make room.
    kept_s: how long uploads, and the links of searches, are kept.
    """

    body_bytes: int = 64 << 20
    body_wait_s: float = 30.0
    body_s: float = 300.0
    text_chars: int = 2_000
    top_k: int = 200
    requests_per_minute: float = 3_000.0
    burst: float = 600.0
    logins_per_minute: float = 10.0
    uploads: int = 16
    upload_bytes: int = 256 << 20
    upload_bytes_in_all: int = 1 << 30
    kept_s: float = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Where a service finds things, who may come in, and what they may see.

    galleries, archives: by the names that users know; an archive can be indexed from the pages.
    state: the private folder of keys, audit and jobs.
    hosts: the names under which it is asked; any other Host is refused. origins: from which pages may send
        requests, such as "https://search.example.org"; those of `hosts` on `port` by default.
    hidden: columns of the galleries that no answer tells.
    explainer: what explains, as `explain --explainer` takes it; explainer_access: how it is reached.
    device: of the encoders.
    is_secure: whether browsers reach it by HTTPS, so that its cookies stay there.
    """

    galleries: Mapping[str, Path]
    state: Path
    host: str = "127.0.0.1"
    port: int = 7860
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    archives: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    hidden: frozenset[str] = frozenset()
    explainer: str = "evidence"
    explainer_access: Access = field(default_factory=Access)
    device: str = "auto"
    is_secure: bool = False
    limits: ServiceLimits = ServiceLimits()
