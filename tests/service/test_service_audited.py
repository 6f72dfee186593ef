"""What requests leave in the audit: looks at lists and uploads, wrong keys, digests of questions."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serving import Served, serving

from medsiglip_search.errors import Gone
from medsiglip_search.queries import Like, Study, Text
from medsiglip_search.service.access.authenticating import AccessSettings
from medsiglip_search.service.asking import Asked, AskedImage
from medsiglip_search.service.audit import Record, records
from medsiglip_search.service.callers import Caller, Principal

WRONG = "msk_00000000_" + "x" * 43
ANN = Caller(Principal("ann", "reader", credential="key 1"), "10.0.0.1", "r-1")
BOB = Caller(Principal("bob", "reader", credential="key 2"), "10.0.0.2", "r-2")


@pytest.fixture
def ward(demo_gallery: Path, tmp_path: Path) -> Iterator[Served]:
    """A service that nobody has asked anything yet."""
    with serving({"demo": demo_gallery}, tmp_path / "state", AccessSettings(keys=True)) as running:
        yield running


def told(served: Served, action: str) -> list[Record]:
    return [one for one in records(served.service.settings.state) if one.action == action]


def picture(seed: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_a_wrong_key_is_recorded_once_a_minute_for_an_address_and_no_key_is_not(ward: Served) -> None:
    with ward.client() as client:
        assert {client.get("/v1").status_code for _ in range(5)} == {401}
    assert told(ward, "refused") == []
    with ward.client(WRONG) as client:
        assert {client.get("/v1/galleries").status_code for _ in range(20)} == {401}
    found = told(ward, "refused")
    assert 1 <= len(found) <= 3  # one for each minute that this takes
    assert (found[0].who, found[0].outcome, found[0].address) == ("nobody", "refused", "127.0.0.1")


def test_looks_at_lists_and_refusals_are_recorded(ward: Served) -> None:
    with ward.client(ward.key("rita")) as client:
        assert client.get("/v1/galleries/demo").status_code == 200
        assert client.get("/v1/galleries/none").status_code == 404
        assert client.get("/metrics").status_code == 403
        assert {client.get("/v1/jobs").status_code for _ in range(20)} == {200}
        sent = client.post("/v1/uploads", files={"file": picture(3)}).json()["upload"]
        assert client.get(f"/v1/uploads/{sent}/preview").status_code == 200
        assert client.get("/v1/uploads/none/preview").status_code == 410
    assert [(one.gallery, one.outcome) for one in told(ward, "contents")] == [
        ("demo", "done"),
        (None, "refused"),  # a name that there is not is what somebody has sent
    ]
    assert [(one.who, one.outcome) for one in told(ward, "refused")] == [("rita", "refused")]
    assert [one.outcome for one in told(ward, "thumbnail")] == ["done", "failed"]
    assert {tuple(one.details.items()) for one in told(ward, "thumbnail")} == {(("upload", True),)}
    assert 1 <= len(told(ward, "jobs")) <= 3


def test_a_question_is_known_by_all_that_is_asked_but_its_page(served: Served) -> None:
    digest_of = served.service.digest_of
    asked = Asked(text="effusion", filters={"modality": ("CR",), "year": (2020,)})
    same = Asked(text="effusion", filters={"year": (2020,), "modality": ("CR",)}, top_k=5, cursor="next")
    assert digest_of(ANN, asked) == digest_of(BOB, same)
    others: list[dict[str, Any]] = [
        {},
        {"where": "year = 2020"},
        {"where": "year = 2021"},
        {"filters": {"modality": ("CR",)}},
        {"filters": {"modality": ("CT",)}},
        {"study": "5e0c"},
        {"parts": (Text("5e0c"),)},
        {"parts": (Study("5e0c"),)},
        {"parts": (Study("5e0c", 2.0),)},
        {"parts": (Like(1),)},
        {"like": (1,)},
        {"unlike": (1,)},
        {"without": ("tube",)},
        {"group_by": "study"},
    ]
    digests = {digest_of(ANN, Asked(text="effusion", **one)) for one in others}
    assert len(digests) == len(others)


def test_an_upload_is_known_by_what_it_shows_and_by_nobody_else(served: Served) -> None:
    with served.client() as client:
        tokens = [
            client.post("/v1/uploads", files={"file": picture(seed)}).json()["upload"] for seed in (3, 3, 4)
        ]
    local = Caller(Principal("local", "admin"), "127.0.0.1", "r-3")
    first, again, other = (
        served.service.digest_of(local, Asked(images=(AskedImage(token),))) for token in tokens
    )
    assert first == again != other
    with pytest.raises(Gone):
        served.service.digest_of(ANN, Asked(images=(AskedImage(tokens[0]),)))
