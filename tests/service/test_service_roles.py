"""Who may ask what: the table in docs/api.md, asked over HTTP route by route and role by role."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Served, serving

from medsiglip_search.client import Client
from medsiglip_search.service.access.authenticating import AccessSettings
from medsiglip_search.service.app import described_api
from medsiglip_search.service.audit.reading import records
from medsiglip_search.service.callers import ROLES, Caller, Principal
from medsiglip_search.service.operations import labelling
from medsiglip_search.service.operations.labelling import LabelRun

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| ([A-Z]+) \| `(/\S*)` \| (\w+) \|", (ROOT / "docs" / "api.md").read_text("utf-8"), re.MULTILINE
)
NO_IMAGE = 1 << 40
REVIEW = {
    "label_set": "own",
    "label_set_digest": "0" * 64,
    "label": "nodule",
    "image_id": NO_IMAGE,
    "decision": "present",
    "answer": "agree",
}

# What is sent, and what comes back for those who may: what is refused then is refused for what it says.
ASKED: dict[tuple[str, str], tuple[dict[str, Any], int]] = {
    ("POST", "/v1/galleries/{gallery}/facets"): ({"json": {}}, 200),
    ("POST", "/v1/galleries/{gallery}/searches"): ({"json": {}}, 422),
    ("POST", "/v1/galleries/{gallery}/explanations"): ({"json": {}}, 422),
    ("POST", "/v1/uploads"): ({"files": {"file": b"no picture"}}, 422),
    ("GET", "/v1/uploads/{upload}/preview"): ({}, 410),
    ("POST", "/v1/galleries/{gallery}/images/{image_id}/heatmap"): ({"json": {"text": " "}}, 422),
    ("DELETE", "/v1/galleries/{gallery}/images/{image_id}"): ({}, 404),
    ("POST", "/v1/galleries/{gallery}/label-runs"): ({"json": {}}, 422),
    ("POST", "/v1/galleries/{gallery}/reviews"): ({"json": REVIEW}, 404),
    ("POST", "/v1/galleries/{gallery}/index-runs"): ({"json": {"archives": []}}, 422),
    ("POST", "/v1/galleries/{gallery}/evaluations"): ({"files": {"truth": b"\0"}}, 422),
    ("DELETE", "/v1/jobs/{job_id}"): ({}, 202),
    ("POST", "/logout"): ({}, 303),
}
OK = ({}, 200)


@pytest.fixture(scope="module")
def ward(demo_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("roles")
    shutil.copytree(demo_gallery, folder / "gallery")
    archives = {"scans": str(demo_gallery.parent / "archive")}
    with serving(
        {"demo": folder / "gallery"}, folder / "state", AccessSettings(keys=True), archives=archives
    ) as running:
        yield running


@pytest.fixture(scope="module")
def keys(ward: Served) -> dict[str, str | None]:
    return {"none": None, **{role: ward.key(f"a {role}", role) for role in ROLES}}


@pytest.fixture(scope="module")
def jobs(ward: Served, keys: dict[str, str]) -> dict[str, str]:
    """Jobs that have ended, by whose they are: a reader has one of the time as a labeller."""
    begun = {}
    for role in ROLES:
        earlier = Caller(Principal(f"a {role}", "labeller", credential="key 0"), "127.0.0.1", "none")
        run = LabelRun("modality", where="modality = 'CR'")
        begun[role] = labelling.start(ward.service, earlier, "demo", run).id
    with Client(ward.url, keys["admin"]) as client:
        for job_id in begun.values():
            assert client.wait(client.job(job_id)).state == "done"
    return {**begun, "none": begun["reader"]}


def place(path: str, method: str, job: str) -> str:
    image = NO_IMAGE if method == "DELETE" else 1
    names = {"gallery": "demo", "image_id": image, "job_id": job, "upload": "none"}
    names["name"] = "labels.csv" if "/jobs/" in path else "modality"
    return path.format(**names)


def test_the_table_lists_every_route_of_the_application() -> None:
    routes = {
        (method, route.path)
        for included in described_api().router.routes
        for route in getattr(getattr(included, "original_router", None), "routes", ())
        for method in route.methods
    }
    assert {("POST", "/login"), ("POST", "/v1/galleries/{gallery}/searches")} < routes
    listed = {(method, path) for method, path, _ in ROWS}
    assert listed == routes | {("GET", "/openapi.json")}, "bring the table in docs/api.md up to date"
    assert len(set(ROWS)) == len(ROWS) == len(routes) + 1


def test_the_document_tells_the_role_that_the_table_tells(ward: Served) -> None:
    table = {(method, path): access for method, path, access in ROWS}
    for path, methods in ward.app.openapi()["paths"].items():
        for method, operation in methods.items():
            needed = re.search(r"Needs the role (\w+)", operation.get("description", ""))
            told = "none" if operation.get("security") == [] else needed[1] if needed else "reader"
            assert table[method.upper(), path] == told, path


@pytest.mark.parametrize(("method", "path", "access"), [row for row in ROWS if row[2] != "none"])
def test_a_route_is_for_its_role_and_those_above_it(
    ward: Served, keys: dict[str, str | None], jobs: dict[str, str], method: str, path: str, access: str
) -> None:
    sent, status = ASKED.get((method, path), OK)
    found = {}
    for who, key in keys.items():
        with ward.client(key) as client:
            answer = client.request(method, place(path, method, jobs[who]), **sent)
        found[who] = answer.status_code
        documented = ward.app.openapi()["paths"].get(path, {}).get(method.lower())
        if documented is not None:
            assert str(answer.status_code) in documented["responses"]
    may = ROLES[ROLES.index(access) :]
    assert found == {"none": 401, **{role: status if role in may else 403 for role in ROLES}}


@pytest.mark.parametrize(("method", "path"), [row[:2] for row in ROWS if row[2] == "none"])
def test_what_needs_no_key_is_the_same_for_everybody(
    ward: Served, keys: dict[str, str | None], method: str, path: str
) -> None:
    statuses = set()
    for key in (None, keys["admin"]):
        with ward.client(key) as client:
            statuses.add(client.request(method, path).status_code)
    assert len(statuses) == 1


def test_who_may_not_is_in_the_audit_as_refused(ward: Served, keys: dict[str, str | None]) -> None:
    with ward.client(keys["reader"]) as client:
        refused = client.post("/v1/galleries/demo/index-runs", json={"archives": ["scans"]})
    assert refused.status_code == 403
    last = [one for one in records(ward.service.settings.state) if one.action == "index"][-1]
    assert (last.who, last.outcome) == ("a reader", "refused")
    assert "scans" not in json.dumps(refused.json())
