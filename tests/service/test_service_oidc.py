"""Logins at a real provider on this machine, good and bad; and what opens a service."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from joserfc.jwk import KeySet, RSAKey
from oidc_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    EC,
    STRANGER,
    Claims,
    Manner,
    provider,
    signed,
    signed_with_the_public_key,
    unsigned,
)

from medsiglip_search.errors import Forbidden, InvalidQuery, TooManyRequests, Unauthenticated, Unavailable
from medsiglip_search.service.access.authenticating import (
    LOCAL,
    Access,
    AccessSettings,
    is_loopback,
    require_access,
)
from medsiglip_search.service.access.keys import KeyStore
from medsiglip_search.service.access.oidc import (
    OidcLogin,
    OidcSettings,
    PendingLogins,
    Remembered,
    principal_of,
)
from medsiglip_search.service.access.rates import Rates
from medsiglip_search.service.callers import Principal, Role

BACK = "https://search.example.org/login/back"
ROLES: dict[str, Role] = {"readers": "reader", "radiologists": "labeller", "owners": "admin"}


@pytest.fixture
def manner() -> Manner:
    return Manner()


@pytest.fixture
def settings(manner: Manner) -> Iterator[OidcSettings]:
    with provider(manner, "/realms/hospital") as issuer:
        yield settings_for(issuer)


def settings_for(issuer: str, **more: Any) -> OidcSettings:
    return OidcSettings(
        **{
            "issuer": issuer,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "roles": ROLES,
            "redirect_uri": BACK,
            **more,
        }
    )


def visit(url: str) -> dict[str, str]:
    """Go to the provider as a browser does; return the query with which it sends the browser back."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    assert answer.status == 302, answer.read()
    target = urlsplit(answer.headers["Location"])
    connection.close()
    assert f"{target.scheme}://{target.netloc}{target.path}" == BACK
    return dict(parse_qsl(target.query))


async def log_in(login: OidcLogin) -> Principal:
    url, remembered = await login.begin()
    return await login.finish(visit(url), remembered)


def test_a_login_gives_who_it_is_and_what_they_may_do(settings: OidcSettings) -> None:
    assert asyncio.run(log_in(OidcLogin(settings))) == Principal("anna", "reader", None, "oidc")


def test_every_login_has_its_own_state_nonce_and_verifier(settings: OidcSettings) -> None:
    login = OidcLogin(settings)
    (first_url, first), (_, second) = asyncio.run(login.begin()), asyncio.run(login.begin())
    values = [first.state, first.nonce, first.verifier, second.state, second.nonce, second.verifier]
    assert [len(value) for value in values] == [43] * 6
    assert len(set(values)) == 6
    query = dict(parse_qsl(urlsplit(first_url).query))
    assert query["state"] == first.state
    assert first.verifier not in first_url
    assert first.verifier not in repr(first)


@pytest.mark.parametrize(
    ("secret", "kind"), [(CLIENT_SECRET, "basic"), (CLIENT_SECRET, "post"), (None, "post")]
)
def test_clients_with_and_without_a_secret_are_known_to_the_provider(
    settings: OidcSettings, manner: Manner, secret: str | None, kind: str
) -> None:
    manner.secret, manner.kind = secret, kind
    assert asyncio.run(log_in(OidcLogin(replace(settings, client_secret=secret)))).name == "anna"
    other = OidcLogin(replace(settings, client_secret="another"))
    with pytest.raises(Unauthenticated, match="the provider of logins refused this login"):
        asyncio.run(log_in(other))


def test_tokens_of_elliptic_curves_and_of_an_issuer_with_a_slash_are_taken() -> None:
    manner = Manner(sign=lambda claims: signed(claims, "ES256", EC))
    with provider(manner, "/tenant/") as issuer:
        assert issuer.endswith("/tenant/")
        assert asyncio.run(log_in(OidcLogin(settings_for(issuer)))).name == "anna"


def changed(**more: object) -> Callable[[Claims], Claims]:
    return lambda claims: {**claims, **more}


def without(*names: str) -> Callable[[Claims], Claims]:
    return lambda claims: {name: value for name, value in claims.items() if name not in names}


NOW = int(time.time())
BAD_TOKENS: dict[str, dict[str, Any]] = {
    "another nonce": {"claims": changed(nonce="another")},
    "no nonce": {"claims": without("nonce")},
    "another audience": {"claims": changed(aud="another")},
    "another audience, but issued to this client": {"claims": changed(aud="another", azp=CLIENT_ID)},
    "no audience": {"claims": without("aud")},
    "an audience beside this one, and no azp": {"claims": changed(aud=[CLIENT_ID, "another"])},
    "issued to another": {"claims": changed(azp="another")},
    "expired": {"claims": changed(iat=NOW - 7200, exp=NOW - 3600)},
    "without an end": {"claims": without("exp")},
    "an end that is none": {"claims": changed(exp="tomorrow")},
    "an end that is not a number": {"claims": changed(exp=float("nan"))},
    "issued in the future": {"claims": changed(iat=NOW + 7200, exp=NOW + 7300)},
    "without a start": {"claims": without("iat")},
    "not valid yet": {"claims": changed(nbf=NOW + 7200)},
    "another issuer": {"claims": changed(iss="https://login.example.org")},
    "no issuer": {"claims": without("iss")},
    "nobody": {"claims": without("sub")},
    "another access token": {"claims": changed(at_hash="AAAAAAAAAAAAAAAAAAAAAA")},
    "no signature": {"sign": unsigned},
    "signed with the public key": {"sign": signed_with_the_public_key},
    "signed by another of the same name": {"sign": lambda claims: signed(claims, key=STRANGER)},
    "signed by an unknown key": {"sign": lambda claims: signed(claims, kid="unknown")},
    "changed after it was signed": {"sign": lambda claims: _tampered(signed(claims))},
    "no token": {"sign": lambda claims: "nothing"},
    "an empty token": {"sign": lambda claims: ""},
    "a number": {"sign": lambda claims: 7},
}


def _tampered(token: str) -> str:
    head, _, signature = token.split(".")
    other = signed({"sub": "bert"}).split(".")[1]
    return ".".join([head, other, signature])


@pytest.mark.parametrize("wrong", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_a_token_that_is_not_for_this_login_is_refused(
    settings: OidcSettings, manner: Manner, wrong: dict[str, Any]
) -> None:
    login = OidcLogin(settings)
    for name, value in wrong.items():
        setattr(manner, name, value)
    with pytest.raises(Unauthenticated) as refused:
        asyncio.run(log_in(login))
    assert "anna" not in str(refused.value)


def test_the_log_tells_why_a_token_was_refused_and_not_whose_it_is(
    settings: OidcSettings, manner: Manner, caplog: pytest.LogCaptureFixture
) -> None:
    manner.claims = changed(aud="another")
    with pytest.raises(Unauthenticated):
        asyncio.run(log_in(OidcLogin(settings)))
    (record,) = caplog.records
    assert record.__dict__["fields"] == {"why": "invalid_claim", "claim": "aud"}
    manner.claims = changed(exp=NOW - 3600)
    caplog.clear()
    with pytest.raises(Unauthenticated):
        asyncio.run(log_in(OidcLogin(settings)))
    (record,) = caplog.records
    assert record.__dict__["fields"] == {"why": "expired_token", "claim": "exp"}
    assert "anna" not in repr(record.__dict__)


def test_the_same_login_is_taken_when_its_clock_is_off_by_less_than_a_minute(
    settings: OidcSettings, manner: Manner
) -> None:
    login = OidcLogin(settings)
    now = int(time.time())
    for start, end in ((now + 30, now + 300), (now - 300, now - 30)):
        manner.claims = changed(iat=start, exp=end)
        assert asyncio.run(log_in(login)).name == "anna"


@pytest.mark.parametrize(
    "answer",
    [
        {"state": "another"},
        {"state": "é"},
        {"error": "access_denied", "error_description": "canary"},
        {"code": ""},
        {"code": "canary\ud7ff\n"},
        {"iss": "https://login.example.org"},
    ],
    ids=str,
)
def test_an_answer_that_is_not_for_this_login_is_refused(
    settings: OidcSettings, manner: Manner, answer: dict[str, str]
) -> None:
    manner.answer = answer
    with pytest.raises(Unauthenticated) as refused:
        asyncio.run(log_in(OidcLogin(settings)))
    assert "canary" not in str(refused.value)


def test_a_provider_that_says_whose_its_answers_are_must_say_it(
    settings: OidcSettings, manner: Manner
) -> None:
    manner.discovery = {"authorization_response_iss_parameter_supported": True}
    login = OidcLogin(settings)
    with pytest.raises(Unauthenticated, match="another provider"):
        asyncio.run(log_in(login))
    manner.answer = {"iss": settings.issuer}
    assert asyncio.run(log_in(login)).name == "anna"


def test_a_code_is_of_no_use_without_its_verifier_or_a_second_time(settings: OidcSettings) -> None:
    login = OidcLogin(settings)

    async def try_with(remembered: Remembered, query: dict[str, str]) -> None:
        with pytest.raises(Unauthenticated, match="refused this login"):
            await login.finish(query, remembered)

    async def try_both() -> None:
        url, remembered = await login.begin()
        await try_with(replace(remembered, verifier="A" * 43), visit(url))
        url, remembered = await login.begin()
        query = visit(url)
        assert (await login.finish(query, remembered)).name == "anna"
        await try_with(remembered, query)

    asyncio.run(try_both())


def test_what_a_provider_says_of_itself_is_read_once_and_again_after_an_hour(
    settings: OidcSettings, manner: Manner
) -> None:
    now = 100.0
    login = OidcLogin(settings, lambda: now)
    for _ in range(2):
        asyncio.run(log_in(login))
    once = ["/realms/hospital/.well-known/openid-configuration", "/realms/hospital/keys"]
    assert sorted(path for path in manner.asked if path in once) == once
    now += 3600
    asyncio.run(log_in(login))
    assert sorted(path for path in manner.asked if path in once) == sorted(2 * once)


def test_a_key_that_the_provider_took_up_meanwhile_is_found(settings: OidcSettings, manner: Manner) -> None:
    login = OidcLogin(settings)
    asyncio.run(log_in(login))
    fresh = RSAKey.generate_key(2048, {"kid": "fresh", "use": "sig"})
    manner.sign = lambda claims: signed(claims, key=fresh)
    with pytest.raises(Unauthenticated):
        asyncio.run(log_in(login))
    manner.published = KeySet([fresh])
    assert asyncio.run(log_in(login)).name == "anna"
    manner.sign = signed
    with pytest.raises(Unauthenticated):
        asyncio.run(log_in(login))


@pytest.mark.parametrize("part", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "https://login.example.org/x", "file:///etc/passwd", 7, None]
)
def test_a_part_that_is_not_at_the_issuers_address_is_never_asked(
    settings: OidcSettings, manner: Manner, part: str, url: object
) -> None:
    manner.discovery = {part: url}
    with pytest.raises(Unavailable, match="not at its own address"):
        asyncio.run(log_in(OidcLogin(settings)))


def test_certificates_that_cannot_be_read_are_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("none")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with pytest.raises(InvalidQuery, match="SSL_CERT_FILE"):
        OidcLogin(settings_for("https://login.example.org"))


def test_a_provider_that_calls_itself_another_is_not_used(settings: OidcSettings, manner: Manner) -> None:
    manner.discovery = {"issuer": "https://login.example.org"}
    with pytest.raises(Unavailable, match="calls itself another issuer"):
        asyncio.run(log_in(OidcLogin(settings)))


def test_a_provider_that_cannot_be_reached_says_so_and_is_asked_again(manner: Manner) -> None:
    with provider(manner) as issuer:
        pass
    login = OidcLogin(settings_for(issuer))
    with pytest.raises(Unavailable, match="cannot be reached; try again, or use a key"):
        asyncio.run(login.begin())


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"no JSON", Unavailable),
        (200, b"[" * 100_000, Unavailable),
        (200, b"[]", Unavailable),
        (200, b'{"a": "' + b"a" * (1024 * 1024) + b'"}', Unavailable),
        (500, b"{}", Unavailable),
        (302, b"{}", Unavailable),
        (401, b'{"error": "invalid_client"}', Unauthenticated),
        (200, b"{}", Unauthenticated),
    ],
    ids=["no JSON", "deep", "a list", "endless", "broken", "redirect", "refused", "no ID token"],
)
def test_an_odd_answer_for_a_code_lets_nobody_in(
    settings: OidcSettings, manner: Manner, status: int, body: bytes, error: type[Exception]
) -> None:
    manner.token_status, manner.token_body = status, body
    with pytest.raises(error, match="provider of logins"):
        asyncio.run(log_in(OidcLogin(settings)))


def claims_settings(**more: Any) -> OidcSettings:
    return settings_for(**{"issuer": "https://login.example.org", **more})


@pytest.mark.parametrize(
    ("value", "role"),
    [
        (["readers"], "reader"),
        ("radiologists", "labeller"),
        (["readers", "owners", "radiologists", "cooks"], "admin"),
    ],
)
def test_the_highest_role_of_all_counts(value: object, role: Role) -> None:
    assert principal_of({"sub": "anna", "roles": value}, claims_settings()).role == role


@pytest.mark.parametrize("value", [None, [], "cooks", ["cooks"], {"readers": True}, 7, [["owners"]], [None]])
def test_without_a_role_somebody_is_refused_or_gets_the_default(value: object) -> None:
    claims = {"sub": "anna", "roles": value}
    with pytest.raises(Forbidden, match="has no role here; ask an administrator"):
        principal_of(claims, claims_settings())
    assert principal_of(claims, claims_settings(default_role="reader")).role == "reader"


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"realm_access": {"roles": ["owners"]}}, "realm_access.roles"),
        ({"https://example.org/roles": ["owners"]}, "https://example.org/roles"),
        ({"groups": "owners"}, "groups"),
    ],
)
def test_roles_are_found_where_the_settings_say(claims: Claims, name: str) -> None:
    assert principal_of({"sub": "anna", **claims}, claims_settings(role_claim=name)).role == "admin"


def test_galleries_are_those_of_the_claim_and_without_it_none() -> None:
    settings = claims_settings(galleries_claim="galleries")
    claims: Claims = {"sub": "anna", "roles": "readers"}
    assert principal_of({**claims, "galleries": ["head", 7, "thorax"]}, settings).galleries == {
        "head",
        "thorax",
    }
    assert principal_of({**claims, "galleries": "head"}, settings).galleries == {"head"}
    assert principal_of(claims, settings).galleries == frozenset()
    assert principal_of(claims, claims_settings()).galleries is None


@pytest.mark.parametrize("name", [None, "", " ", 7, ["anna"], "a\nb", "x" * 201])
def test_a_name_that_the_audit_could_not_note_is_refused(name: object) -> None:
    with pytest.raises(Forbidden, match="name_claim"):
        principal_of({"email": name, "roles": "readers"}, claims_settings(name_claim="email"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"issuer": "http://login.example.org"}, "https://"),
        ({"issuer": "login.example.org"}, "no URL"),
        ({"issuer": "https://user:canary@login.example.org"}, "no URL"),
        ({"issuer": "https://login.example.org/?a=b"}, "no URL"),
        ({"issuer": "https:///canary"}, "no URL"),
        ({"client_id": ""}, "client_id"),
        ({"client_secret": ""}, "client_secret"),
        ({"client_secret": "é"}, "client_secret"),
        ({"scopes": ("email",)}, "openid"),
        ({"roles": {"owners": "root"}}, "reader, labeller, admin"),
        ({"roles": {}}, "nobody would have a role"),
    ],
)
def test_settings_that_cannot_work_are_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidQuery, match=message) as refused:
        claims_settings(**more)
    assert "canary" not in str(refused.value)


def test_settings_do_not_show_their_secret() -> None:
    assert CLIENT_SECRET not in repr(claims_settings())


def test_where_the_browser_comes_back_to_is_set_or_said(settings: OidcSettings) -> None:
    login = OidcLogin(replace(settings, redirect_uri=None))
    with pytest.raises(InvalidQuery, match="redirect_uri"):
        asyncio.run(login.begin())
    url, _ = asyncio.run(login.begin("https://here.example.org/back"))
    assert dict(parse_qsl(urlsplit(url).query))["redirect_uri"] == "https://here.example.org/back"
    url, _ = asyncio.run(OidcLogin(settings).begin("https://evil.example.org"))
    assert dict(parse_qsl(urlsplit(url).query))["redirect_uri"] == BACK


def test_a_pending_login_is_taken_once_and_for_ten_minutes() -> None:
    now = 100.0
    pending = PendingLogins(most=2, clock=lambda: now)
    one = Remembered("state", "nonce", "verifier", BACK)
    ids = [pending.keep(one, "10.0.0.1") for _ in range(3)]
    with pytest.raises(Unauthenticated, match="took too long, or did not begin here"):
        pending.take(ids[0])  # the oldest of three, where two are kept
    assert pending.take(ids[1]) == one
    with pytest.raises(Unauthenticated):
        pending.take(ids[1])
    now += 600
    with pytest.raises(Unauthenticated):
        pending.take(ids[2])


def test_one_address_cannot_push_out_the_pending_logins_of_others() -> None:
    pending = PendingLogins(most_each=2, most=4)
    one = Remembered("state", "nonce", "verifier", BACK)
    annas = pending.keep(one, "10.0.0.1")
    flood = [pending.keep(one, "10.0.0.2") for _ in range(10)]
    assert pending.take(annas) == one
    assert [pending.take(id_) for id_ in flood[-2:]] == [one, one]
    with pytest.raises(Unauthenticated):
        pending.take(flood[-3])


# What the gate asks.


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "state")


def refusal(access: Access, authorization: str | None, session: str | None = None) -> str:
    with pytest.raises(Unauthenticated) as refused:
        access.principal_of(authorization, session)
    return str(refused.value)


def test_an_open_service_takes_everybody_for_its_administrator(keys: KeyStore) -> None:
    access = Access(AccessSettings(), keys)
    assert access.principal_of(None, None) == LOCAL == Principal("local", "admin", None, "none")
    with pytest.raises(Unauthenticated):
        access.login_with_key("msk_", "127.0.0.1")


def test_a_key_opens_as_a_header_and_as_a_session_until_it_is_revoked(keys: KeyStore) -> None:
    access = Access(AccessSettings(keys=True), keys)
    key, text = keys.add("anna", "reader", None, None)
    session = access.login_with_key(f" {text}\n", "10.0.0.1")
    anna = Principal("anna", "reader", None, f"key {key.id}")
    assert access.principal_of(f"Bearer {text}", None) == anna
    assert access.principal_of(f"bearer  {text}", None) == anna
    assert access.principal_of(None, session) == anna
    keys.revoke(key.id)
    assert refusal(access, None, session) == "the session has ended; log in again"
    assert "not valid any more" in refusal(access, f"Bearer {text}")


def test_nothing_and_what_is_no_key_are_told_what_to_give(keys: KeyStore) -> None:
    access = Access(AccessSettings(keys=True), keys)
    _, text = keys.add("anna", "reader", None, None)
    session = access.login_with_key(text, "10.0.0.1")
    how = 'give a key as "Authorization: Bearer KEY"; an administrator makes one'
    assert [refusal(access, one) for one in (None, "", text, f"Basic {text}")] == [how] * 4
    # A wrong header is refused although the cookie beside it is right.
    assert refusal(access, "Basic x", session) == how
    assert "unknown" in refusal(access, "Bearer x", session)


def test_a_session_that_was_logged_out_opens_nothing(keys: KeyStore) -> None:
    access = Access(AccessSettings(keys=True), keys)
    _, text = keys.add("anna", "reader", None, None)
    session = access.login_with_key(text, "10.0.0.1")
    access.logout(session)
    assert refusal(access, None, session) == "the session has ended; log in again"


def test_failed_logins_are_limited_by_address_and_right_ones_are_not(keys: KeyStore) -> None:
    now = 100.0
    rates = Rates(per_minute=6, burst=3, what="failed logins", clock=lambda: now)
    access = Access(AccessSettings(keys=True), keys, failures=rates)
    _, text = keys.add("anna", "reader", None, None)

    def fails(address: str) -> None:
        with pytest.raises(Unauthenticated):
            access.login_with_key("wrong", address)

    for _ in range(10):
        access.login_with_key(text, "10.0.0.1")
    for _ in range(3):
        fails("10.0.0.1")
    with pytest.raises(TooManyRequests, match="too many failed logins"):
        access.login_with_key(text, "10.0.0.1")
    access.login_with_key(text, "10.0.0.2")
    now += 10
    access.login_with_key(text, "10.0.0.1")
    # A machine has all addresses of an IPv6 network to itself.
    for last in range(3):
        fails(f"2001:db8::{last}")
    with pytest.raises(TooManyRequests):
        access.login_with_key(text, "2001:db8::ffff")
    access.login_with_key(text, "2001:db8:0:1::1")
    for _ in range(3):
        fails("::ffff:10.0.0.3")
    with pytest.raises(TooManyRequests):
        access.login_with_key(text, "10.0.0.3")


def test_logins_that_are_begun_at_the_provider_are_limited_by_address(
    settings: OidcSettings, keys: KeyStore
) -> None:
    begins = Rates(per_minute=6, burst=2, what="logins", clock=lambda: 0.0)
    access = Access(AccessSettings(oidc=settings), keys, begins=begins)

    async def begin(*addresses: str) -> None:
        for address in addresses:
            await access.begin_login(address)

    asyncio.run(begin("10.0.0.1", "10.0.0.1", "10.0.0.2"))
    with pytest.raises(TooManyRequests, match="too many logins"):
        asyncio.run(begin("10.0.0.1"))


def test_without_a_way_to_log_in_attempts_count_all_the_same(keys: KeyStore) -> None:
    failures = Rates(per_minute=6, burst=2, clock=lambda: 0.0)
    access = Access(AccessSettings(), keys, failures=failures)
    with pytest.raises(Unauthenticated):
        access.login_with_key("msk_", "10.0.0.1")
    with pytest.raises(Unauthenticated):
        asyncio.run(access.finish_login({}, "pending", "10.0.0.1"))
    with pytest.raises(TooManyRequests):
        access.login_with_key("msk_", "10.0.0.1")
    with pytest.raises(TooManyRequests):
        asyncio.run(access.finish_login({}, "pending", "10.0.0.1"))


def test_keys_that_cannot_be_read_are_nobodys_failure(keys: KeyStore, tmp_path: Path) -> None:
    rates = Rates(per_minute=6, burst=1, clock=lambda: 0.0)
    access = Access(AccessSettings(keys=True), keys, failures=rates)
    _, text = keys.add("anna", "reader", None, None)
    path = tmp_path / "state" / "keys.json"
    sound = path.read_bytes()
    path.write_bytes(b"damage")
    for _ in range(2):
        with pytest.raises(Unavailable):
            access.login_with_key(text, "10.0.0.1")
    path.write_bytes(sound)
    access.login_with_key(text, "10.0.0.1")


def test_a_login_at_the_provider_becomes_a_session(settings: OidcSettings, keys: KeyStore) -> None:
    access = Access(AccessSettings(oidc=settings), keys)
    _, text = keys.add("anna", "admin", None, None)

    async def log_in_by_browser() -> str:
        url, pending = await access.begin_login("10.0.0.1")
        query = visit(url)
        session = await access.finish_login(query, pending, "10.0.0.1")
        with pytest.raises(Unauthenticated):
            await access.finish_login(query, pending, "10.0.0.1")
        return session

    session = asyncio.run(log_in_by_browser())
    assert access.principal_of(None, session) == Principal("anna", "reader", None, "oidc")
    how = "log in at the provider of logins first, in a browser"
    assert refusal(access, f"Bearer {text}") == how
    assert refusal(access, None) == how
    with pytest.raises(Unauthenticated, match=how):
        access.login_with_key(text, "10.0.0.1")


def test_keys_and_logins_together_open_the_same_service(settings: OidcSettings, keys: KeyStore) -> None:
    access = Access(AccessSettings(keys=True, oidc=settings), keys)
    _, text = keys.add("robot", "labeller", None, None)
    assert access.principal_of(f"Bearer {text}", None).name == "robot"
    url, _ = asyncio.run(access.begin_login("10.0.0.1"))
    assert url.startswith(f"{settings.issuer}/authorize?")
    assert "or log in in a browser" in refusal(access, None)


def test_without_a_provider_there_is_no_login_at_one(keys: KeyStore) -> None:
    access = Access(AccessSettings(keys=True), keys)
    with pytest.raises(Unauthenticated, match="give a key"):
        asyncio.run(access.begin_login("10.0.0.1"))
    with pytest.raises(Unauthenticated, match="give a key"):
        asyncio.run(access.finish_login({}, "pending", "10.0.0.1"))


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "::1", "[::1]", "::ffff:127.0.0.1"]
)
def test_a_service_may_be_open_to_this_machine(host: str) -> None:
    assert is_loopback(host)
    require_access(host, AccessSettings())


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example.org", "127.0.0.1.example.org", "::ffff:10.0.0.1"],
)
def test_a_service_that_others_can_reach_must_not_be_open(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(InvalidQuery, match="keys add") as refused:
        require_access(host, AccessSettings())
    assert "OpenID Connect" in str(refused.value)
    require_access(host, AccessSettings(keys=True))
    require_access(host, AccessSettings(oidc=claims_settings()))
