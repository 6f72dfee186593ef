"""What the gate asks: who a request is from, and how somebody logs in."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medsiglip_search.errors import Forbidden, InvalidQuery, Unauthenticated
from medsiglip_search.service.access.hosts import is_loopback, network_of
from medsiglip_search.service.access.keys import KeyStore
from medsiglip_search.service.access.rates import Rates
from medsiglip_search.service.access.sessions import Sessions
from medsiglip_search.service.callers import Principal

if TYPE_CHECKING:
    from medsiglip_search.service.access.oidc import OidcSettings

__all__ = ["LOCAL", "Access", "AccessSettings", "is_loopback", "require_access"]

LOCAL = Principal("local", "admin")
"""Everybody, on a service that is open to this machine alone."""


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """How a service knows who asks: by keys, by logins at a provider, or both.

    With neither, it is open: everybody who reaches it is the administrator.
    """

    keys: bool = False
    oidc: "OidcSettings | None" = None

    @property
    def is_open(self) -> bool:
        return not self.keys and self.oidc is None


def require_access(host: str, settings: AccessSettings) -> None:
    """Raise InvalidQuery for a service that is open and listens to more than this machine."""
    if settings.is_open and not is_loopback(host):
        raise InvalidQuery(
            "without keys or logins only this machine may ask: make a key with `medsiglip-search keys add "
            "NAME --role admin`, give the settings of an OpenID Connect provider, or listen on 127.0.0.1"
        )


class Access:
    """Who may use a service; for any number of threads."""

    def __init__(
        self,
        settings: AccessSettings,
        keys: KeyStore,
        sessions: Sessions | None = None,
        failures: Rates | None = None,
        begins: Rates | None = None,
    ) -> None:
        """failures, begins: how many logins an address may fail in, and begin at the provider.

        By default ten and sixty a minute; people can share an address, and each begins one.
        """
        self.settings = settings
        self._keys = keys
        self._sessions = Sessions() if sessions is None else sessions
        self._failures = Rates(10, burst=10, what="failed logins") if failures is None else failures
        self._begins = Rates(60, burst=60, what="logins") if begins is None else begins
        self._login = self._pending = None
        if settings.oidc is not None:
            from medsiglip_search.service.access.oidc import OidcLogin, PendingLogins

            self._login, self._pending = OidcLogin(settings.oidc), PendingLogins()

    def principal_of(
        self, authorization: str | None, session: str | None, *, is_use: bool = True
    ) -> Principal:
        """Return who a request is from, by its Authorization header or else by its session's token.

        is_use: whether that keeps the session from ending for want of use.
        Raises Unauthenticated, Unavailable where the keys cannot be read.
        """
        if self.settings.is_open:
            return LOCAL
        if authorization is not None:
            # A header that is wrong is never made up for by a cookie: a program would not see its mistake.
            scheme, _, text = authorization.strip().partition(" ")
            if not self.settings.keys or scheme.lower() != "bearer":
                raise Unauthenticated(self._how())
            return self._keys.principal_of(text.strip())
        if session is None:
            raise Unauthenticated(self._how())
        return self._sessions.principal_of(session, is_use=is_use)

    def login_with_key(self, text: str, address: str) -> str:
        """Return the token of a new session for whom a key stands.

        Raises Unauthenticated, TooManyRequests after many failures from that address, Unavailable.
        """
        with self._counted(address):
            if not self.settings.keys:
                raise Unauthenticated(self._how())
            principal = self._keys.principal_of(text.strip())
        id_ = principal.credential.removeprefix("key ")
        return self._sessions.begin(principal, lambda: self._keys.is_valid(id_))

    async def begin_login(self, address: str, redirect_uri: str | None = None) -> tuple[str, str]:
        """Return the provider's URL to go to, and the id for the browser's cookie until it comes back.

        redirect_uri: where it comes back to, unless the settings say. Raises InvalidQuery, Unavailable,
        TooManyRequests from that address, Unauthenticated where there is no provider.
        """
        self._begins.spend(network_of(address))
        if self._login is None or self._pending is None:
            raise Unauthenticated(self._how())
        url, remembered = await self._login.begin(redirect_uri)
        return url, self._pending.keep(remembered, network_of(address))

    async def finish_login(self, query: Mapping[str, str], pending: str, address: str) -> str:
        """Return the token of a new session for who has logged in at the provider.

        query: of the URL that the browser came back with. pending: the id that `begin_login` gave. Raises
        Unauthenticated, Forbidden, TooManyRequests, Unavailable.
        """
        with self._counted(address):
            if self._login is None or self._pending is None:
                raise Unauthenticated(self._how())
            principal = await self._login.finish(query, self._pending.take(pending))
        return self._sessions.begin(principal)

    def logout(self, session: str) -> None:
        """End a session, if there is such a one."""
        self._sessions.end(session)

    @contextmanager
    def _counted(self, address: str) -> Iterator[None]:
        """Count a login from this address if it is refused. Raises TooManyRequests."""
        # Counted before, so that many at once are no way around.
        name, is_refused = network_of(address), False
        self._failures.spend(name)
        try:
            yield
        except (Unauthenticated, Forbidden):
            is_refused = True
            raise
        finally:
            if not is_refused:
                self._failures.give_back(name)

    def _how(self) -> str:
        """Return what somebody must do who has shown nothing."""
        if not self.settings.keys:
            return "log in at the provider of logins first, in a browser"
        other = ", or log in in a browser" if self.settings.oidc else ""
        return f'give a key as "Authorization: Bearer KEY"{other}; an administrator makes one'
