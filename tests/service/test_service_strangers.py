"""What somebody without a key can make the service write down, and the cookie of who has one."""

from collections.abc import Iterator
from pathlib import Path

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
