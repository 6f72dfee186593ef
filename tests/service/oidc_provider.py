"""A small OpenID Connect provider in a thread: lets everybody in at once, and misbehaves when told to."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

CLIENT_ID, CLIENT_SECRET = "medsiglip", "a secret of the client's"
LIFE_S = 300

RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"})
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
"""A key of the same name that is not the provider's."""

Claims = dict[str, Any]


@dataclass
class Manner:
    """How a provider behaves; may be changed while it runs. By default as it should.

    person: claims of whoever logs in. claims: changes those of an ID token. sign: makes the token of claims.
    published: the keys that it tells. discovery: over what it says of itself. answer: over what it sends back
    with the browser. token_status, token_body: of the token endpoint instead of a token. secret: None for a
    public client. kind: how the secret is to be sent.
    """

    person: Claims = field(default_factory=lambda: {"sub": "anna", "roles": ["readers"]})
    claims: Callable[[Claims], Claims] = lambda claims: claims
    sign: Callable[[Claims], str] = lambda claims: signed(claims)
    published: KeySet = field(default_factory=lambda: KeySet([RSA, EC]))
    discovery: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, str] = field(default_factory=dict)
    token_status: int = 200
    token_body: bytes | None = None
    secret: str | None = CLIENT_SECRET
    kind: str = "basic"
    asked: list[str] = field(default_factory=list)
    """The paths that were asked for."""


def signed(claims: Claims, algorithm: str = "RS256", key: RSAKey | ECKey = RSA, **header: str) -> str:
    """Return an ID token."""
    return jwt.encode({"alg": algorithm, "kid": key.kid, **header}, claims, key, algorithms=[algorithm])


def unsigned(claims: Claims) -> str:
    """Return an ID token of the algorithm "none"."""
    return _content({"alg": "none", "kid": RSA.kid}, claims) + "."


def signed_with_the_public_key(claims: Claims) -> str:
    """Return an ID token of HS256, whose secret is what everybody may know of the RSA key."""
    text = _content({"alg": "HS256", "kid": RSA.kid}, claims)
    seal = hmac.digest(RSA.as_pem(private=False), text.encode(), "sha256")
    return f"{text}.{_base64(seal)}"


@contextmanager
def provider(manner: Manner | None = None, path: str = "") -> Iterator[str]:
    """Yield the issuer's URL of a running provider. path: of the issuer."""
    server = _Server(manner or Manner(), path)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, manner: Manner, path: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.manner = manner
        self.path = path
        self.issuer = f"http://127.0.0.1:{self.server_port}{path}"
        self.codes: dict[str, dict[str, str]] = {}


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        self.server.manner.asked.append(asked.path)
        match asked.path.removeprefix(self.server.path.rstrip("/")):
            case "/.well-known/openid-configuration":
                self._json(200, self._discovery())
            case "/keys":
                self._json(200, self.server.manner.published.as_dict(private=False))
            case "/authorize":
                self._authorize({name: values[0] for name, values in parse_qs(asked.query).items()})
            case _:
                self._json(404, {})

    def do_POST(self) -> None:
        self.server.manner.asked.append(self.path)
        form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        manner = self.server.manner
        if manner.token_status != 200 or manner.token_body is not None:
            self._send(manner.token_status, manner.token_body or b"{}")
            return
        query = self.server.codes.pop(form.get("code", ""), None)
        if query is None or not self._is_client(form) or not _answers(form, query):
            self._json(400, {"error": "invalid_grant"})
            return
        now = int(time.time())
        claims = {
            "iss": self.server.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + LIFE_S,
            "nonce": query["nonce"],
            **manner.person,
        }
        token = manner.sign(manner.claims(claims))
        self._json(200, {"access_token": "opaque", "token_type": "Bearer", "id_token": token})

    def _discovery(self) -> dict[str, Any]:
        issuer = self.server.issuer.rstrip("/")
        return {
            "issuer": self.server.issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/keys",
            "token_endpoint_auth_methods_supported": [f"client_secret_{self.server.manner.kind}"],
            **self.server.manner.discovery,
        }

    def _authorize(self, query: dict[str, str]) -> None:
        """Send the browser back at once, as if the person had logged in."""
        expected = {"response_type": "code", "client_id": CLIENT_ID, "code_challenge_method": "S256"}
        if not expected.items() <= query.items() or "openid" not in query.get("scope", "").split():
            self._json(400, {"error": "invalid_request"})
            return
        code = secrets.token_urlsafe(16)
        self.server.codes[code] = query
        answer = {"code": code, "state": query["state"], **self.server.manner.answer}
        self.send_response(302)
        self.send_header("Location", f"{query['redirect_uri']}?{urlencode(answer)}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _is_client(self, form: Mapping[str, str]) -> bool:
        secret = self.server.manner.secret
        if secret is None or self.server.manner.kind == "post":
            return form.get("client_id") == CLIENT_ID and form.get("client_secret") == secret
        expected = base64.b64encode(f"{CLIENT_ID}:{secret}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _json(self, status: int, document: Mapping[str, Any]) -> None:
        self._send(status, json.dumps(document).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _answers(form: Mapping[str, str], query: Mapping[str, str]) -> bool:
    """Tell whether a request for a token goes with the request of the browser (RFC 7636, 4.6)."""
    challenge = _base64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
    return (form.get("grant_type"), form.get("redirect_uri"), challenge) == (
        "authorization_code",
        query["redirect_uri"],
        query["code_challenge"],
    )


def _content(header: Claims, claims: Claims) -> str:
    """Return what a token's signature is of."""
    return ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
