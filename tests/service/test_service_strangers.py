"""What somebody without a key can make the service write down, and the cookie of who has one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Served, serving

from medsiglip_search.service.access.authenticating import AccessSettings
from medsiglip_search.service.audit import Record, records
from medsiglip_search.service.settings import ServiceLimits

WRONG = "msk_00000000_" + "x" * 43


@pytest.fixture
def ward(demo_gallery: Path, tmp_path: Path) -> Iterator[Served]:
    """A service that nobody has asked anything yet."""
    limits = ServiceLimits(logins_per_minute=3)
    with serving(
        {"demo": demo_gallery}, tmp_path / "state", AccessSettings(keys=True), limits=limits
    ) as running:
        yield running


def told(served: Served, action: str) -> list[Record]:
    return [one for one in records(served.service.settings.state) if one.action == action]


def test_a_flood_of_logins_leaves_few_records(ward: Served) -> None:
    with ward.client() as client:
        answers = [client.post("/login", data={"key": WRONG}).status_code for _ in range(20)]
        answers += [client.get("/login/oidc/callback").status_code for _ in range(20)]
    assert answers[:3] == [401] * 3
    assert answers.count(429) > 30
    found = told(ward, "login")
    # The failed ones and, of all that came too often, one in each minute that this takes.
    assert 1 <= len(found) - answers.count(401) <= 4
    assert {(one.who, one.outcome) for one in found} == {("nobody", "refused")}


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("searches", {"text": "\ud800"}),
        ("searches", {"text": "x", "without": ["\ud800"]}),
        ("searches", {"text": "x", "filters": {"modality": ["\ud800"]}}),
        ("searches", {"parts": [{"text": "\ud800"}]}),
        ("explanations", {"text": "\ud800", "top_k": 1}),
        ("images/1/heatmap", {"text": "\ud800"}),
    ],
)
def test_half_a_character_is_refused(served: Served, path: str, asked: dict[str, Any]) -> None:
    with served.client() as client:
        headers = {"content-type": "application/json"}
        answer = client.post(f"/v1/galleries/demo/{path}", content=json.dumps(asked), headers=headers)
    assert answer.status_code == 422


@pytest.mark.parametrize("host", ["[", "[::1", "a]", "[x]"])
def test_a_host_that_is_no_name_is_refused(served: Served, host: str) -> None:
    with served.client() as client:
        assert client.get("/healthz", headers={"Host": host}).status_code == 403


def test_an_error_at_the_gate_that_nobody_expected_is_in_the_log(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(served.service.rates, "spend", fail)
    with served.client() as client:
        answer = client.get("/v1")
    assert answer.status_code == 500
    [logged] = [one for one in caplog.records if one.message == "failed"]
    assert logged.exc_info is not None
    assert logged.exc_info[0] is ZeroDivisionError
    assert vars(logged)["fields"]["request_id"] == answer.json()["request_id"]


def test_signing_in_again_ends_the_session_before(ward: Served) -> None:
    with ward.client() as client:
        client.post("/login", data={"key": ward.key("ann")})
        first = client.cookies["medsiglip_session"]
        assert client.get("/v1").json()["name"] == "ann"
        client.post("/login", data={"key": ward.key("bob")})
        assert client.get("/v1").json()["name"] == "bob"
    with ward.client(cookies={"medsiglip_session": first}) as earlier:
        assert earlier.get("/v1").status_code == 401


def test_under_https_a_cookie_is_this_hosts_alone(demo_gallery: Path, tmp_path: Path) -> None:
    keys = AccessSettings(keys=True)
    with (
        serving({"demo": demo_gallery}, tmp_path / "state", keys, is_secure=True) as running,
        running.client() as client,
    ):
        begun = client.post("/login", data={"key": running.key("ann")}).headers["set-cookie"]
        # The client keeps to what such a cookie asks for, and would not send it by HTTP.
        pair = {"Cookie": begun.partition(";")[0]}
        assert client.get("/v1", headers=pair).json()["name"] == "ann"
        other = {"Cookie": pair["Cookie"].removeprefix("__Host-")}
        assert client.get("/v1", headers=other).status_code == 401
        ended = client.post("/logout", headers=pair).headers["set-cookie"]
        assert client.get("/v1", headers=pair).status_code == 401
    for told in (begun, ended):
        name, *attributes = told.split("; ")
        assert name.startswith("__Host-medsiglip_session=")
        # What the prefix asks for: else a browser drops the cookie, or keeps one that it should forget.
        assert {"Path=/", "Secure", "HttpOnly", "SameSite=lax"} <= set(attributes)
        assert not any(attribute.startswith("Domain") for attribute in attributes)
