"""Logins at an OpenID Connect provider: authorization code flow with PKCE, and whom the ID token names."""

import hmac
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jws import JWSRegistry

from medsiglip_search.errors import Forbidden, InvalidQuery, Unauthenticated
from medsiglip_search.service.access.provider import Provider, require_issuer
from medsiglip_search.service.callers import ROLES, Principal, Role

# Signatures of a key that only the provider has: "none" needs no key, and HS256 could take the public one.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY_S = 60
"""By which the provider's clock may be off."""

MOST_NAME_CHARACTERS = 200

log = logging.getLogger(__name__)

_SIGNATURES = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """Where people log in, and what makes them readers, labellers or administrators here.

    issuer: as the provider's discovery document has it. client_secret: None for a public client.
    role_claim: names roles or groups in the ID token, a dot leading into an object ("realm_access.roles").
    roles: what each of them means here; the highest counts. default_role: of those who have none of them;
    None: they are refused. galleries_claim: names the galleries that somebody may use; None: all may use all.
    name_claim: names people in the audit. redirect_uri: where the provider sends browsers back to; None:
    where `begin` says.

    Raises InvalidQuery for what cannot be used.
    """

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] = ("openid",)
    role_claim: str = "roles"
    roles: Mapping[str, Role] = field(default_factory=dict)
    default_role: Role | None = None
    galleries_claim: str | None = None
    name_claim: str = "sub"
    redirect_uri: str | None = None

    def __post_init__(self) -> None:
        require_issuer(self.issuer)
        secret = self.client_secret
        if not self.client_id or (secret is not None and not (secret and secret.isascii())):
            raise InvalidQuery(
                "OpenID Connect: client_id and client_secret must be those of the registration"
            )
        if "openid" not in self.scopes:
            raise InvalidQuery('OpenID Connect: add "openid" to the scopes; without it there is no ID token')
        wrong = {*self.roles.values(), self.default_role or ROLES[0]} - {*ROLES}
        if wrong:
            raise InvalidQuery(f"OpenID Connect: roles must be mapped to one of {', '.join(ROLES)}")
        if not self.roles and self.default_role is None:
            raise InvalidQuery("OpenID Connect: nobody would have a role; map some, or give a default role")


@dataclass(frozen=True, slots=True)
class Remembered:
    """What must be remembered of a login while the browser is at the provider."""

    state: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    redirect_uri: str


class OidcLogin:
    """Logins at one provider."""

    def __init__(self, settings: OidcSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._provider = Provider(settings.issuer, settings.client_id, settings.client_secret, clock)

    async def begin(self, redirect_uri: str | None = None) -> tuple[str, Remembered]:
        """Return the URL at which somebody logs in, and what `finish` needs.

        redirect_uri: where the browser comes back to, unless the settings say. Raises InvalidQuery,
        Unavailable.
        """
        back = self._settings.redirect_uri or redirect_uri
        if back is None:
            raise InvalidQuery("OpenID Connect: set redirect_uri, where the provider sends browsers back to")
        endpoints = await self._provider.endpoints()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        remembered = Remembered(state, nonce, verifier, back)
        url = prepare_grant_uri(
            endpoints.authorization,
            self._settings.client_id,
            "code",
            back,
            " ".join(self._settings.scopes),
            state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return url, remembered

    async def finish(self, query: Mapping[str, str], remembered: Remembered) -> Principal:
        """Return who has logged in. query: of the URL that the provider sent the browser back to.

        Raises Unauthenticated, Forbidden for somebody who has no role here, Unavailable.
        """
        state = query.get("state", "").encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(state, remembered.state.encode()):
            raise Unauthenticated("this is not the answer to the login that began here; log in again")
        # RFC 9207: else the code of another provider could be put in the place of this one's.
        names_issuer = "iss" in query or (await self._provider.endpoints()).names_issuer
        if names_issuer and query.get("iss") != self._settings.issuer:
            raise Unauthenticated("this answer is from another provider of logins; log in again")
        code = query.get("code")
        if "error" in query or not code:
            raise Unauthenticated(
                "the provider of logins let nobody in; log in again, or ask its administrator"
            )
        tokens = await self._provider.tokens(code, remembered.verifier, remembered.redirect_uri)
        return principal_of(await self._claims(tokens, remembered.nonce), self._settings)

    async def _claims(self, tokens: Mapping[str, Any], nonce: str) -> Mapping[str, Any]:
        """Return what the ID token says, after every check of OpenID Connect Core 1.0, section 3.1.3.7."""
        text = tokens.get("id_token")
        if not isinstance(text, str):
            raise Unauthenticated(
                "the provider of logins sent no ID token; the client must be allowed openid"
            )
        try:
            try:
                token = jwt.decode(text, await self._provider.keys(), registry=_SIGNATURES)
            except InvalidKeyIdError:
                # It may have begun to sign with a new key.
                token = jwt.decode(text, await self._provider.keys(anew=True), registry=_SIGNATURES)
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": self._settings.issuer},
                    "aud": {"essential": True, "value": self._settings.client_id},
                    "sub": {"essential": True},
                },
                {
                    "nonce": nonce,
                    "client_id": self._settings.client_id,
                    "access_token": tokens.get("access_token"),
                },
            )
            claims.validate(leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError, LookupError) as error:
            why = {"why": getattr(error, "error", "malformed"), "claim": getattr(error, "claim", None)}
            log.warning("an ID token is not valid", extra={"fields": why})
            raise Unauthenticated(
                "the provider's ID token is not valid for this login; log in again"
            ) from error
        return claims


def principal_of(claims: Mapping[str, Any], settings: OidcSettings) -> Principal:
    """Return whom the claims of an ID token stand for. Raises Forbidden."""
    name = _claim(claims, settings.name_claim)
    if (
        not isinstance(name, str)
        or not name.strip()
        or len(name) > MOST_NAME_CHARACTERS
        or not name.isprintable()
    ):
        raise Forbidden(
            "the login has no name that the audit could note; an administrator must set name_claim"
        )
    roles = [
        settings.roles[one] for one in _texts(_claim(claims, settings.role_claim)) if one in settings.roles
    ]
    role = max(roles, key=ROLES.index, default=settings.default_role)
    if role is None:
        raise Forbidden("the login is valid, but has no role here; ask an administrator to give you one")
    galleries = None
    if settings.galleries_claim is not None:
        galleries = frozenset(_texts(_claim(claims, settings.galleries_claim)))
    return Principal(name, role, galleries, credential="oidc")


def _claim(claims: Mapping[str, Any], name: str) -> object:
    """Return the claim of this name, or None; a dot leads into an object unless it is the claim's own."""
    if name in claims:
        return claims[name]
    first, dot, rest = name.partition(".")
    inner = claims.get(first)
    return _claim(inner, rest) if dot and isinstance(inner, Mapping) else None


def _texts(value: object) -> list[str]:
    """Return the texts of a claim that holds one or several."""
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]


@dataclass(frozen=True, slots=True)
class _Pending:
    until: float
    address: str
    remembered: Remembered


class PendingLogins:
    """Logins whose browsers are at the provider: for ten minutes, each for one answer."""

    def __init__(
        self,
        seconds: float = 600.0,
        most_each: int = 600,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep each for so many seconds. most_each: of one address; most: in all. The oldest make room."""
        self._seconds, self._most_each, self._most, self._clock = seconds, most_each, most, clock
        self._lock = threading.Lock()
        self._logins: dict[str, _Pending] = {}  # in the order in which they end

    def keep(self, remembered: Remembered, address: str) -> str:
        """Return the id for the browser's cookie: 256 random bits. address: of the browser."""
        id_ = secrets.token_urlsafe(32)
        with self._lock:
            own = [other for other, login in self._logins.items() if login.address == address]
            for other in own[: max(0, len(own) + 1 - self._most_each)]:
                del self._logins[other]
            while len(self._logins) >= self._most:
                del self._logins[next(iter(self._logins))]
            self._logins[id_] = _Pending(self._clock() + self._seconds, address, remembered)
        return id_

    def take(self, id_: str) -> Remembered:
        """Return what was remembered, and forget it. Raises Unauthenticated."""
        with self._lock:
            login = self._logins.pop(id_, None)
        if login is None or self._clock() >= login.until:
            raise Unauthenticated("the login took too long, or did not begin here; log in again")
        return login.remembered
