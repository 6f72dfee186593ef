"""What must never leave its place: a canary in all that names patients, and a look at all that is written."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from dicom_files import image_dataset, written
from playwright.sync_api import Browser, Request
from service_process import ServiceProcess, service_process
from viewing import at_rest

from medsiglip_search.cli import main
from medsiglip_search.service.access.keys import KeyStore

CANARY = "Wiesenthalerin"
"""A word that is in no vocabulary, and so can only have come from where it was put."""

TAGS = (
    "PatientName", "PatientID", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName",
    "PatientComments", "PatientAddress", "PatientTelephoneNumbers", "MilitaryRank", "Occupation",
    "AdditionalPatientHistory", "EthnicGroup", "ReferringPhysicianName", "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy", "PhysiciansOfRecord", "RequestingPhysician", "OperatorsName",
    "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName",
    "StudyDescription", "SeriesDescription", "ProtocolName", "ImageComments", "StudyID", "AccessionNumber",
    "RequestedProcedureDescription", "PerformedProcedureStepDescription", "DerivationDescription",
)  # fmt: skip


@dataclass(frozen=True)
class Watched:
    running: ServiceProcess
    file: bytes
    first: str
    second: str


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A service of an archive that is full of the canary, and the keys of two users."""
    folder = tmp_path_factory.mktemp("watched")
    archive = folder / f"archive of {CANARY}"
    archive.mkdir()
    files = []
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 4095, (64, 64)).astype(np.uint16)
        dataset = image_dataset(pixels, SOPInstanceUID=f"2.25.{number + 1}")
        for tag in TAGS:
            setattr(dataset, tag, f"{CANARY}{'' if tag.endswith('ID') else ' was here'}"[:16])
        files.append(written(dataset))
        (archive / f"{CANARY}_{number}.dcm").write_bytes(files[-1])
    gallery = folder / "gallery"
    with pytest.raises(SystemExit, match="0"):
        main(["index", str(gallery), str(archive), "--encoder", "demo"])
    state = folder / "state"
    keys = KeyStore(state)
    first, second = (keys.add(name, "reader", None, expires=None)[1] for name in ("first", "second"))
    with service_process(folder / "run", state, [f"cases={gallery}"], needs_keys=True) as running:
        yield Watched(running, files[0], first, second)


def test_the_canary_is_where_it_was_put(watched: Watched) -> None:
    assert len(TAGS) >= 30
    assert watched.file.count(CANARY.encode()) == len(TAGS)


def page_events(client: httpx.Client) -> list[tuple[int, int]]:
    """Return what the pages may ask, each with how many values it takes."""
    events = client.get("/config").json()["dependencies"]
    return [(one["id"], len(one["inputs"])) for one in events if one["backend_fn"] and not one["queue"]]


def test_no_answer_repeats_it(watched: Watched) -> None:
    search = "/v1/galleries/cases/searches"
    with watched.running.client(watched.first) as client:
        upload = client.post("/v1/uploads", files={"file": (f"{CANARY}.dcm", watched.file)})
        found = client.post(search, json={"text": f"{CANARY} effusion", "top_k": 4})
        alike = client.post(search, json={"images": [{"upload": upload.json()["upload"]}], "top_k": 4})
        image_id = found.json()["hits"][0]["image_id"]
        place = f"/v1/galleries/cases/images/{image_id}"
        answers = [
            upload,
            found,
            alike,
            client.get(place),
            client.get(f"{place}/picture"),
            client.get(f"{place}/thumbnail"),
            client.post(f"{place}/heatmap", json={"text": CANARY}),
            client.post(search, json={"text": "x", "where": f"{CANARY} = '{CANARY}'"}),
            client.post(search, json={"text": "x", CANARY: CANARY}),
            client.post(search, content=f'{{"text": "{CANARY}', headers={"content-type": "application/json"}),
            client.post(search, json={"text": "x", "cursor": CANARY}),
            client.get(f"/v1/galleries/{CANARY}"),
            client.get(f"/{CANARY}"),
            client.get(f"/v1/galleries/cases?{CANARY}={CANARY}"),
            client.post("/v1/uploads", files={"file": (f"{CANARY}.txt", CANARY.encode())}),
            *(
                client.post(
                    "/gradio_api/run/predict",
                    json={"fn_index": event, "data": [CANARY] * inputs, "session_hash": "canary"},
                )
                for event, inputs in page_events(client)
            ),
            client.get("/v1/galleries"),
            client.get("/v1/galleries/cases"),
            client.get("/openapi.json"),
        ]
    assert {answer.status_code for answer in answers} >= {200, 201, 404, 410, 422}
    assert [answer.url for answer in answers if CANARY in answer.text] == []
    assert [answer.url for answer in answers if CANARY in str(answer.headers)] == []


def test_no_answer_to_another_user_has_it(watched: Watched) -> None:
    with watched.running.client(watched.first) as first, watched.running.client(watched.second) as second:
        token = first.post("/v1/uploads", files={"file": (f"{CANARY}.dcm", watched.file)}).json()["upload"]
        first.post("/v1/galleries/cases/searches", json={"text": CANARY})
        answers = [
            second.get(f"/v1/uploads/{token}/preview"),
            second.get("/v1/jobs"),
            second.post("/v1/galleries/cases/searches", json={"text": "effusion"}),
            second.get("/"),
            second.get("/config"),
        ]
    assert [answer.url for answer in answers if CANARY in answer.text] == []


def test_a_browser_keeps_nothing_and_asks_nobody_else(
    watched: Watched, browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / f"{CANARY}.dcm"
    file.write_bytes(watched.file)
    context = browser.new_context()
    page = context.new_page()
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    page.goto(watched.running.url)
    page.get_by_label("Your access key").fill(watched.first)
    page.get_by_role("button", name="Sign in").click()
    at_rest(page.get_by_label("Look for")).fill(f"{CANARY} effusion")
    page.locator("input[type=file]").first.set_input_files(file)
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator("img[src*='/thumbnail']").first.wait_for()
    kept = page.evaluate(KEPT)
    databases = page.evaluate("indexedDB.databases().then(found => found.length)")
    page.goto(f"{watched.running.url}/case?gallery=cases&image=1")
    page.locator("img").first.wait_for()
    page.goto(f"{watched.running.url}/map?gallery=cases")
    page.locator("canvas").first.wait_for()
    context.close()
    assert CANARY not in kept
    assert databases == 0
    assert len(asked) > 30
    elsewhere = [one.url for one in asked if not one.url.startswith((watched.running.url, "data:", "blob:"))]
    assert elsewhere == []
    assert [one.url for one in asked if CANARY in one.url] == []


KEPT = """
JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href, history.state])
"""


def test_nothing_that_the_service_writes_has_it(watched: Watched) -> None:
    """The last of these tests: whatever the others asked has been written by now."""
    with watched.running.client(
        KeyStore(watched.running.state).add("head", "admin", None, expires=None)[1]
    ) as head:
        metrics = head.get("/metrics").text
    assert "medsiglip_requests_total" in metrics
    assert CANARY not in metrics
    log = watched.running.log
    begins, *rest = log.splitlines()
    lines = [json.loads(line) for line in rest]  # JSON and nothing else, though the pages' library prints
    assert begins.startswith("Serving cases at")
    assert any(line["message"] == "printed" for line in lines if "message" in line)
    assert [line["route"] for line in lines if line.get("status") == 422] != []
    assert CANARY.lower() not in log.lower()
    written_files = [path for path in watched.running.state.rglob("*") if path.is_file()]
    assert {"audit.jsonl", "keys.json"} <= {path.name for path in written_files}
    having = [
        path.name for path in written_files if CANARY.encode() in path.read_bytes() or CANARY in str(path)
    ]
    assert having == []
    audit = (watched.running.state / "audit.jsonl").read_text()
    assert '"action":"search"' in re.sub(r"\s", "", audit)


def test_the_service_calls_nobody(watched: Watched) -> None:
    elsewhere = [
        line for line in watched.running.called() if not re.search(r"127\.0\.0\.1|'localhost'|::1|'/", line)
    ]
    assert elsewhere == []
