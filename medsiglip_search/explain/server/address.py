"""Where a chat server is, whether that is this machine, and the key it wants."""

import ipaddress
import logging
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from medsiglip_search.errors import ExplainerUnavailable
from medsiglip_search.explain.kinds import HOW_TO_GIVE_A_KEY, KEY_VARIABLE

log = logging.getLogger(__name__)

MOST_KEY_CHARACTERS = 8192
"""An access token of Google's cloud has about 1000."""

_CHAT = "/chat/completions"
_EXAMPLE = "give http(s)://HOST:PORT/v1, as in http://localhost:8000/v1"


@dataclass(frozen=True, slots=True)
class Address:
    """base: the URL without a slash at its end, to which "/chat/completions" is added."""

    base: str
    is_local: bool
    is_encrypted: bool

    @property
    def chat(self) -> str:
        return self.base + _CHAT

    @property
    def models(self) -> str:
        return f"{self.base}/models"


def read_address(url: str) -> Address:
    """Return the address of a server's URL, with or without /v1 or /chat/completions.

    Raises ExplainerUnavailable; the message holds nothing of the URL, which may have a password in it.
    """
    try:
        # The same reader as the one that sends: two that disagree on where the host ends are a way around.
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError) as error:
        raise ExplainerUnavailable(f"the explainer's URL cannot be read; {_EXAMPLE}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or not _is_port(parsed.port):
        raise ExplainerUnavailable(f"the explainer's URL is none of a web server; {_EXAMPLE}")
    if parsed.userinfo:
        raise ExplainerUnavailable(
            "the explainer's URL holds a user or password, which logs would show; leave it out and give the "
            f"key with {HOW_TO_GIVE_A_KEY}"
        )
    if parsed.query or parsed.fragment:
        raise ExplainerUnavailable(f"the explainer's URL has a query or a fragment; {_EXAMPLE}")
    base = str(parsed).rstrip("/")
    base = base.removesuffix(_CHAT).rstrip("/")
    if httpx.URL(base).path in ("", "/"):
        base += "/v1"
    return Address(base, _is_loopback(parsed.host), parsed.scheme == "https")


def _is_port(port: int | None) -> bool:
    return port is None or 0 < port < 65536


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_upload(address: Address, may_upload: bool) -> None:
    """Raise ExplainerUnavailable for a server that is not this machine, unless pictures may leave it."""
    if not address.is_local and not may_upload:
        raise ExplainerUnavailable(
            f"{address.base}: pictures and reports would leave this machine; "
            "pass --allow-upload if that is allowed"
        )


def read_key(file: Path | None, environment: Mapping[str, str], variable: str = KEY_VARIABLE) -> str | None:
    """Return the server's key, from the first line of a file or else from a variable.

    None where neither is given. Raises ExplainerUnavailable, which never holds what was read.
    """
    if file is None:
        where, text = variable, environment.get(variable, "")
        if not text.strip():
            return None
    else:
        where, text = str(file), _first_line(file)
    key = text.strip()
    # What a header can hold (RFC 6750, 2.1, and a little more): anything else is not a key but a mistake.
    if not key or len(key) > MOST_KEY_CHARACTERS or not all("!" <= c <= "~" for c in key):
        raise ExplainerUnavailable(
            f"{where}: holds no key; write it alone on the first line, in ASCII without spaces"
        )
    return key


def _first_line(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            mode = file.stat().st_mode
            line = stream.readline(MOST_KEY_CHARACTERS + 3)
    except OSError as error:
        raise ExplainerUnavailable(f"{file}: the key cannot be read ({error.strerror})") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        log.warning("%s: others on this machine can read the key; chmod 600 it", file)
    return line.decode("utf-8", "replace")
