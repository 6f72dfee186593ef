"""What a request says of itself before its body: from where, to where, and what it shows."""

from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from medsiglip_search.service.paths import OWN, is_files, is_open, is_page

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Incoming:
    """One HTTP request, as ASGI has it."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.headers = Headers(scope=scope)

    @property
    def path(self) -> str:
        return self._scope["path"]

    @property
    def method(self) -> str:
        """The method, "other" where it is no word of HTTP: a client may send any."""
        method = self._scope["method"]
        return method if method in METHODS else "other"

    @property
    def address(self) -> str:
        """The address of the other end."""
        client = self._scope.get("client")
        return client[0] if client else ""

    @property
    def host(self) -> str:
        """The name that the service is asked under, in lower case; "" where that is none."""
        try:
            return (urlsplit(f"//{self.headers.get('host', '')}").hostname or "").lower()
        except ValueError:  # "[" opens an address of IPv6 that is none
            return ""

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self._scope["query_string"].decode("latin-1"), keep_blank_values=True)

    @property
    def place(self) -> str:
        """The address on this site, with its query."""
        query = self._scope["query_string"].decode("latin-1")
        return f"{self.path}?{query}" if query else self.path

    @property
    def texts(self) -> list[str]:
        """All text of the address: whoever asks chooses it."""
        return [self.path, *(text for name, values in self.query.items() for text in (name, *values))]

    def cookie(self, name: str) -> str | None:
        """Return the value of a cookie."""
        try:
            cookies = SimpleCookie(self.headers.get("cookie", ""))
        except CookieError:
            return None
        return cookies[name].value if name in cookies else None

    def route(self, pages: Collection[str]) -> str:
        """Return what is asked for, without whatever a client has put into it."""
        if is_page(self.path, pages) or is_open(self.path) or self.path in OWN:
            return self.path
        if is_files(self.path):
            return "files"
        route = getattr(self._scope.get("route"), "path", None)
        return route if route and self.path.startswith("/v1") else "other"
