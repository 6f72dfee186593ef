"""What is asked of an OpenID Connect provider: where its parts are, its keys, and tokens for a code."""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_token_request
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from medsiglip_search.errors import InvalidQuery, Unauthenticated, Unavailable
from medsiglip_search.service.access.hosts import is_loopback

MOST_BYTES = 1024 * 1024
TIMEOUT_S = 10.0
FRESH_S = 3600.0
"""How long what the provider said of itself is taken to hold; keys that it withdrew are gone by then."""

log = logging.getLogger(__name__)

_FORM = "application/x-www-form-urlencoded"
_DISCOVERY = "/.well-known/openid-configuration"


def require_issuer(issuer: str) -> None:
    """Raise InvalidQuery unless it is what a provider's issuer can be, by HTTPS or on this machine."""
    try:
        url = httpx.URL(issuer)
    except (httpx.InvalidURL, TypeError):
        url = httpx.URL("")
    if not url.host or url.userinfo or url.query or url.fragment:
        raise InvalidQuery(
            "OpenID Connect: the issuer is no URL of a host and a path; give it as the provider's discovery "
            "document has it, such as https://login.example.org/realms/hospital"
        )
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.host)):
        raise InvalidQuery(
            "OpenID Connect: the issuer must be asked by HTTPS; give one that begins with https://"
        )


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the parts of a provider are.

    posts_secret: whether it wants the client's secret in the request's body. names_issuer: whether its
    answers to the browser say whose they are (RFC 9207).
    """

    authorization: str
    token: str
    keys: str
    posts_secret: bool
    names_issuer: bool


class Provider:
    """One provider, asked at its issuer's own address and nowhere else."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take whose logins they are. Raises InvalidQuery where the certificates to trust cannot be read."""
        self._issuer = issuer
        self._client_id, self._client_secret = client_id, client_secret
        self._clock = clock
        # A proxy of the environment is no way to this machine.
        self._trust_env = not is_loopback(httpx.URL(issuer).host)
        self._tls = _tls(issuer, self._trust_env)
        self._endpoints: tuple[float, Endpoints] | None = None  # with when they were read
        self._keys: tuple[float, KeySet] | None = None

    async def endpoints(self) -> Endpoints:
        """Return where its parts are. Raises Unavailable."""
        if self._endpoints is None or self._clock() - self._endpoints[0] >= FRESH_S:
            # Without the last slash: OpenID Connect Discovery 1.0, section 4.1.
            document = await self._document("GET", self._issuer.rstrip("/") + _DISCOVERY)
            self._endpoints = self._clock(), self._read(document)
        return self._endpoints[1]

    async def keys(self, anew: bool = False) -> KeySet:
        """Return the keys that it signs with. anew: not those read before. Raises Unavailable."""
        if anew or self._keys is None or self._clock() - self._keys[0] >= FRESH_S:
            document = await self._document("GET", (await self.endpoints()).keys)
            try:
                self._keys = self._clock(), KeySet.import_key_set(document)  # type: ignore[arg-type]
            except (JoseError, ValueError, LookupError, TypeError, AttributeError) as error:
                raise Unavailable(_says("has no keys that can be read")) from error
        return self._keys[1]

    async def tokens(self, code: str, verifier: str, redirect_uri: str) -> Mapping[str, Any]:
        """Return what it gives for a code. Raises Unauthenticated if it refuses the code, Unavailable."""
        endpoints = await self.endpoints()
        method = "none"
        if self._client_secret is not None:
            method = "client_secret_post" if endpoints.posts_secret else "client_secret_basic"
        url, headers, body = ClientAuth(self._client_id, self._client_secret, method).prepare(
            "POST",
            endpoints.token,
            {"Content-Type": _FORM},
            prepare_token_request("authorization_code", "", redirect_uri, code=code, code_verifier=verifier),
        )
        return await self._document("POST", url, headers, body)

    def _read(self, document: Mapping[str, Any]) -> Endpoints:
        # Section 4.3: else one provider could speak for another.
        if document.get("issuer") != self._issuer:
            raise Unavailable(_says("calls itself another issuer than the settings do; correct them"))
        methods = document.get("token_endpoint_auth_methods_supported")
        return Endpoints(
            self._own(document.get("authorization_endpoint")),
            self._own(document.get("token_endpoint")),
            self._own(document.get("jwks_uri")),
            isinstance(methods, list)
            and "client_secret_basic" not in methods
            and "client_secret_post" in methods,
            document.get("authorization_response_iss_parameter_supported") is True,
        )

    def _own(self, url: object) -> str:
        """Return the URL of a part, which must be at the issuer's own address."""
        try:
            if isinstance(url, str) and _origin(url) == _origin(self._issuer):
                return url
        except httpx.InvalidURL:
            pass
        raise Unavailable(_says("names a part that is not at its own address; only that address is asked"))

    async def _document(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: str | None = None
    ) -> Mapping[str, Any]:
        """Return the JSON object that a URL answers with.

        Raises Unauthenticated where the answer is a refusal, Unavailable where it is none at all.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status, content = await self._answer(method, url, headers, body)
            document = json.loads(content) if status == httpx.codes.OK else None
        except (TimeoutError, httpx.HTTPError, OSError) as error:
            raise Unavailable(_says("cannot be reached; try again, or use a key")) from error
        except (ValueError, RecursionError) as error:
            raise Unavailable(_says("sent what is no JSON")) from error
        if isinstance(document, dict):
            return document
        if method == "POST" and status in (httpx.codes.BAD_REQUEST, httpx.codes.UNAUTHORIZED):
            # A login that was tampered with, or a client_secret that is not that of the registration.
            log.warning("the provider gave no token for a code", extra={"fields": {"status": status}})
            raise Unauthenticated("the provider of logins refused this login; log in again")
        raise Unavailable(_says(f"answered with status {status} and nothing that can be used"))

    async def _answer(
        self, method: str, url: str, headers: Mapping[str, str] | None, body: str | None
    ) -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        # No answer is unpacked: a few kilobytes could become gigabytes.
        own = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with (
            httpx.AsyncClient(
                headers=own,
                timeout=TIMEOUT_S,
                follow_redirects=False,
                verify=self._tls,
                trust_env=self._trust_env,
            ) as client,
            client.stream(method, url, headers=headers, content=body) as response,
        ):
            content = bytearray()
            async for piece in response.aiter_raw():
                content += piece
                if len(content) > MOST_BYTES:
                    raise ValueError("too long")
            return response.status_code, bytes(content)


def _origin(url: str) -> tuple[str, str, int | None]:
    parsed = httpx.URL(url)
    return parsed.scheme, parsed.host, parsed.port


def _tls(issuer: str, trust_env: bool) -> ssl.SSLContext:
    """Return which certificates are trusted; made once, as it takes long. Raises InvalidQuery."""
    if httpx.URL(issuer).scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # none: nothing is asked by HTTPS
    try:
        return httpx.create_ssl_context(trust_env=trust_env)
    except OSError as error:
        raise InvalidQuery(
            "OpenID Connect: the certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read; "
            "correct that"
        ) from error


def _says(what: str) -> str:
    return f"the provider of logins {what}"
