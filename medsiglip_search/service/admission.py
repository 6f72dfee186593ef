"""From where a request may come, whoever sends it: under which host, from which pages, past which proxy."""

from medsiglip_search.errors import Forbidden
from medsiglip_search.service.core import Service
from medsiglip_search.service.incoming import Incoming

SAFE_METHODS = frozenset({"GET", "HEAD"})
FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"})
"""Headers that proxies add."""


def require_admission(service: Service, incoming: Incoming) -> None:
    """Raise Forbidden for a request that comes from where none may."""
    if incoming.host not in service.hosts:
        raise Forbidden(
            "the service is not known under this host; an administrator adds it with --allow-host"
        )
    if service.access.settings.is_open and not FORWARDED.isdisjoint(incoming.headers.keys()):
        # It would be open to all who reach the proxy.
        raise Forbidden("the service is open to its own machine alone; behind a proxy it needs --keys")
    if incoming.method not in SAFE_METHODS:
        _require_origin(service, incoming)


def _require_origin(service: Service, incoming: Incoming) -> None:
    """Refuse what another site's page sends: a browser adds the user's cookie to it."""
    origin = incoming.headers.get("origin")
    if origin is None:
        # Browsers say it with every request that changes something; programs have no cookie to abuse.
        if incoming.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Forbidden("requests from pages of other sites are refused")
    elif origin.lower() not in service.origins:
        raise Forbidden("requests from pages of other sites are refused; --allow-origin adds one")
