"""Explanations over real HTTP: what comes first and last, and that the model stops with its client."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_servers import Connection, Server, unused_url, well
from faulty_servers import serving as serving_model
from serving import Served, serving
from slow_models import talking

from medsiglip_search import wire
from medsiglip_search.explain import untold
from medsiglip_search.explain.opening import Access
from medsiglip_search.queries import Query
from medsiglip_search.service.audit.reading import records
from medsiglip_search.service.settings import ServiceLimits

ASKED = {"text": "left pleural effusion"}
PLACE = "/v1/galleries/demo/explanations"
UNCACHED = Access(model="m", is_cached=False)


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict]]:
    """Yield events of a stream as they come."""
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


@pytest.fixture
def gallery(demo_gallery: Path) -> Path:
    return demo_gallery


def explained_by(server: Server | str, gallery: Path, state: Path, **more: object):
    url = server if isinstance(server, str) else server.url
    archives = {"scans": str(gallery.parent / "archive")}
    settings = {"explainer": url, "explainer_access": UNCACHED, "archives": archives, **more}
    return serving({"demo": gallery}, state, **settings)


def test_hits_come_first_then_pieces_then_what_the_explainer_gives(gallery: Path, tmp_path: Path):
    with serving_model(well) as model, explained_by(model, gallery, tmp_path / "state") as served:
        with served.client() as client, client.stream("POST", PLACE, json=ASKED) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            told = list(events(answer.iter_lines()))
            searched = client.post("/v1/galleries/demo/searches", json={**ASKED, "top_k": 3}).json()
        opened = served.service.galleries["demo"]
        query = Query(text=ASKED["text"], top_k=3)
        result = opened.search(query)
        again = served.service.explaining.explain(
            opened.view.searcher, query, result, untold, threading.Event()
        )
    kinds = [kind for kind, _ in told]
    assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("hits", "explanation", {"piece"})
    assert told[0][1] == searched
    assert [piece for _, piece in told[1:3]] == [
        {"subject": "hit 1", "text": "Small "},
        {"subject": "hit 1", "text": "effusion."},
    ]
    expected = json.loads(json.dumps(wire.explanation_json(again)))
    assert {**told[-1][1], "seconds": 0, "revision": ""} == {**expected, "seconds": 0, "revision": ""}
    assert told[-1][1]["state"] == "done"


def test_the_address_of_the_models_server_is_not_told(gallery: Path, tmp_path: Path):
    with explained_by(unused_url(), gallery, tmp_path / "state") as served, served.client() as client:
        told = client.post(PLACE, json=ASKED, headers={"Accept": "application/json"}).json()
    assert (told["explanation"]["state"], "127.0.0.1" in json.dumps(told)) == ("failed", False)
    assert told["explanation"]["problem"]
    assert told["explanation"]["evidence"].startswith("The best of 3 hits")


def test_a_client_that_goes_away_stops_the_model(gallery: Path, tmp_path: Path):
    with serving_model(talking) as model, explained_by(model, gallery, tmp_path / "state") as served:
        explaining = served.service.explaining
        with served.client() as client, client.stream("POST", PLACE, json=ASKED) as answer:
            told = events(answer.iter_lines())  # httpx closes the connection when nobody holds it
            assert _until(told, "piece")[-1][1] == {"subject": "hit 1", "text": "No "}
            assert not explaining.is_free.is_set()
        assert explaining.is_free.wait(30)
        assert model.requests[-1].saw_close.wait(30)


def test_a_client_that_goes_away_while_it_waits_for_json_stops_the_model(gallery: Path, tmp_path: Path):
    begun = threading.Event()

    def begins(connection: Connection) -> None:
        begun.set()
        talking(connection)

    with serving_model(begins) as model, explained_by(model, gallery, tmp_path / "state") as served:
        host, port = served.url.removeprefix("http://").split(":")
        body = json.dumps(ASKED).encode()
        head = (
            f"POST {PLACE} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: application/json\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection((host, int(port))) as client:
            client.sendall(head.encode() + body)
            assert begun.wait(60)
            assert not served.service.explaining.is_free.is_set()
        assert served.service.explaining.is_free.wait(30)
        assert model.requests[-1].saw_close.wait(30)


def test_who_comes_second_is_told_to_wait(gallery: Path, tmp_path: Path):
    with serving_model(talking) as model, explained_by(model, gallery, tmp_path / "state") as served:
        with served.client() as first, first.stream("POST", PLACE, json=ASKED) as answer:
            told = events(answer.iter_lines())
            _until(told, "piece")
            with served.client() as second, second.stream("POST", PLACE, json=ASKED) as waiting:
                kinds = [kind for kind, _ in _until(events(waiting.iter_lines()), "waiting")]
                assert kinds == ["hits", "waiting"]
        assert served.service.explaining.is_free.wait(30)


def _until(told: Iterator[tuple[str, dict]], last: str) -> list[tuple[str, dict]]:
    """Return the events up to the first of this kind."""
    before = []
    for kind, what in told:
        before.append((kind, what))
        if kind == last:
            return before
    raise AssertionError(f"the stream has no {last}: {before}")


def test_json_is_answered_whole_and_evidence_needs_no_model(guarded: Served):
    with guarded.client(guarded.key("whole")) as client:
        answer = client.post(PLACE, json=ASKED, headers={"Accept": "application/json"})
    told = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert [hit["rank"] for hit in told["hits"]] == [1, 2, 3]
    explanation = told["explanation"]
    assert (explanation["explainer"], explanation["state"]) == ("evidence", "done")
    assert [one["image_id"] for one in explanation["pictures"]] == [hit["image_id"] for hit in told["hits"]]
    [record] = records(guarded.service.settings.state, who="whole", action="explain")
    assert record.subjects == tuple(str(hit["image_id"]) for hit in told["hits"])
    assert "effusion" not in json.dumps(record.details)


def test_what_is_hidden_is_not_explained_with(gallery: Path, tmp_path: Path):
    hidden = frozenset({"findings", "report", "patient", "uri"})
    evidence = explained_by("evidence", gallery, tmp_path / "state", hidden=hidden)
    with evidence as served, served.client() as client:
        told = client.post(PLACE, json=ASKED, headers={"Accept": "application/json"}).json()
    warnings = [one["message"] for one in told["explanation"]["warnings"]]
    assert "3 of 3 hits have no recorded findings." in warnings
    assert "patient" not in told["explanation"]["evidence"]
    assert not {"findings", "report", "patient", "uri"} & set(told["hits"][0])


def test_too_many_hits_and_an_unknown_gallery_are_problems(served: Served):
    with served.client() as client:
        many = client.post(PLACE, json={**ASKED, "top_k": 9})
        unknown = client.post("/v1/galleries/none/explanations", json=ASKED)
        empty = client.post(PLACE, json={})
    assert [one.status_code for one in (many, unknown, empty)] == [422, 404, 422]
    assert {one.headers["content-type"] for one in (many, unknown, empty)} == {"application/problem+json"}


def test_explanations_cost_more_than_searches(demo_gallery: Path, tmp_path: Path) -> None:
    limits = ServiceLimits(requests_per_minute=1, burst=30)
    state = tmp_path / "state"
    with serving({"demo": demo_gallery}, state, limits=limits) as running, running.client() as client:
        first = client.post(PLACE, json=ASKED)
        refused = client.post(PLACE, json=ASKED)
        searched = client.post("/v1/galleries/demo/searches", json=ASKED)
    assert first.status_code == 200
    assert (refused.status_code, searched.status_code) == (429, 200)
