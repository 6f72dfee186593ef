"""The Python client against a real service, and against servers that do not answer as they should."""

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from faulty_servers import Answering, Connection, unused_url
from faulty_servers import serving as answering
from serving import Served

from medsiglip_search.client import Client, Job, Problem, Question, Unreachable
from medsiglip_search.client.calls import MOST_TRIES, _events
from medsiglip_search.errors import InvalidQuery
from medsiglip_search.service.problems import problem_of

QUESTION = {"text": "left pleural effusion", "filters": {"modality": ["CR"]}, "top_k": 4}


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.url, key="") as client:
        yield client


@pytest.fixture
def picture(demo_archive: Path) -> Path:
    return sorted(demo_archive.rglob("*.dcm"))[0]


def says(status: str, document: object, *headers: str) -> Answering:
    """Return an answer of this status that holds a JSON document."""

    def answer(connection: Connection) -> None:
        connection.start(status, "application/problem+json", *headers)
        connection.send(json.dumps(document).encode())

    return answer


def busy(retry_after: str) -> Answering:
    document = {
        "type": "urn:medsiglip-search:problem:too-many-requests",
        "title": "Too many requests",
        "status": 429,
        "detail": "come again later",
        "request_id": "abc",
    }
    return says("429 Too Many Requests", document, f"Retry-After: {retry_after}")


def test_a_search_gives_what_the_api_tells(served: Served, client: Client) -> None:
    result = client.search("demo", **QUESTION)
    with served.client() as plain:
        told = plain.post("/v1/galleries/demo/searches", json=QUESTION).json()
    assert [dict(hit) for hit in result.hits] == told["hits"]
    assert (result.matches, list(result.notes)) == (told["matches"], told["notes"])
    assert len(result.hits) == 4
    with pytest.raises(TypeError):
        result.hits[0]["score"] = 2  # type: ignore[index]


def test_pictures_are_uploaded_from_files_and_from_bytes(client: Client, picture: Path) -> None:
    of_file = client.search("demo", images=[picture], top_k=1)
    of_name = client.search("demo", images=[str(picture)], top_k=1)
    of_bytes = client.search("demo", images=[picture.read_bytes()], top_k=1)
    [hit] = of_file.hits
    assert picture.as_posix().endswith(hit["uri"])
    assert hit["score"] == pytest.approx(1, abs=1e-3)
    assert of_name.hits == of_bytes.hits == of_file.hits


def test_hits_are_like_some_images_and_unlike_others(client: Client) -> None:
    ids = [hit["image_id"] for hit in client.search("demo", text="pneumothorax", top_k=2).hits]
    asked = {"like": ids[:1], "unlike": ids[1:], "group_by": "patient", "where": "modality = 'CR'"}
    result = client.search("demo", **asked, top_k=5)
    assert {hit["modality"] for hit in result.hits} == {"CR"}
    assert len({hit["patient"] for hit in result.hits}) == len(result.hits) > 1


def test_pages_have_every_hit_once(client: Client) -> None:
    pages = list(client.pages("demo", text="effusion", top_k=40))
    assert [len(page.hits) for page in pages] == [40, 40, 10]
    ids = [hit["image_id"] for page in pages for hit in page.hits]
    assert len(set(ids)) == 90
    assert [page.cursor is None for page in pages] == [False, False, True]
    assert client.search("demo", text="effusion", top_k=40, cursor=pages[0].cursor) == pages[1]


def test_what_is_known_and_seen_of_an_image(served: Served, client: Client) -> None:
    assert [gallery["name"] for gallery in client.galleries()] == ["demo"]
    [hit] = client.search("demo", text="effusion", where="modality = 'CT'", top_k=1).hits
    image_id = hit["image_id"]
    assert client.image("demo", image_id)["image"]["uri"] == hit["uri"]
    with served.client() as plain:
        thumbnail = plain.get(hit["thumbnail"]).content
        lung = plain.get(hit["picture"], params={"window": "-600,1500"}).content
    assert client.thumbnail("demo", image_id) == thumbnail
    assert client.picture("demo", image_id, window="-600,1500") == lung
    assert client.picture("demo", image_id) != lung
    clear, strong = (client.heatmap("demo", image_id, "effusion", opacity=one) for one in (0.0, 1.0))
    assert clear.startswith(b"\x89PNG")
    assert clear != strong


def test_labels_are_waited_for_and_downloaded(client: Client, tmp_path: Path) -> None:
    told: list[Job] = []
    begun = client.label("demo", "modality", filters={"modality": ["CR"]})
    job = client.wait(begun, tell=told.append)
    assert (job.id, job.kind, job.state, job.problem) == (begun.id, "label", "done", "")
    assert told[-1] == job == client.job(begun.id)
    assert [one.has_ended for one in told] == [False] * (len(told) - 1) + [True]
    assert "labels.csv" in job.files
    path = client.download(job, "labels.csv", tmp_path / "labels.csv")
    with path.open(encoding="utf-8", newline="") as file:
        labelled = {row["image_id"] for row in csv.DictReader(file)}
    assert len(labelled) == job.summary["count"] > 0
    assert client.cancel(job) == job  # it has ended, and stays as it is
    with pytest.raises(Problem) as missing:
        client.download(job, "nothing.csv", tmp_path / "nothing.csv")
    assert missing.value.code == "not-found"
    assert [one.name for one in tmp_path.iterdir()] == ["labels.csv"]


def test_a_gallery_is_evaluated_against_a_table(client: Client, demo_archive: Path) -> None:
    truth = demo_archive.parent / "truth.csv"
    job = client.wait(client.evaluate("demo", truth, label_sets=["demo-findings"], retrieval=False))
    assert (job.state, job.problem) == ("done", "")
    assert job.summary["images"] == 90
    assert {"report.html", "report.json"} <= set(job.files)


def test_only_archives_that_the_service_knows_are_indexed(client: Client) -> None:
    with pytest.raises(Problem) as unknown:
        client.index("demo", ["nowhere"])
    assert (unknown.value.status, unknown.value.code) == (404, "not-found")


def test_an_explanation_comes_in_events(client: Client) -> None:
    events = list(client.explain("demo", text="left pleural effusion", top_k=1))
    kinds = [event.kind for event in events]
    assert (kinds[0], set(kinds[1:-1]), kinds[-1]) == ("hits", {"piece"}, "explanation")
    [hit] = events[0].data["hits"]
    assert hit["image_id"] == client.search("demo", text="left pleural effusion", top_k=1).hits[0]["image_id"]
    assert events[-1].data["state"] == "done"


def test_an_explanation_that_breaks_off_is_no_explanation() -> None:
    def breaks_off(connection: Connection) -> None:
        connection.start()
        connection.send(b'event: hits\ndata: {"hits": []}\n\n')

    with answering(breaks_off) as server, Client(server.url) as client:
        events = client.explain("demo", text="effusion")
        assert next(events).kind == "hits"
        with pytest.raises(Unreachable, match="broke off"):
            next(events)


def test_an_explanation_that_fails_on_the_way_is_a_problem() -> None:
    document = problem_of(InvalidQuery("too much at once; ask for less")).document("abc")

    def fails(connection: Connection) -> None:
        connection.start()
        connection.send(b"event: problem\ndata: " + json.dumps(document).encode() + b"\n\n")

    with (
        answering(fails) as server,
        Client(server.url) as client,
        pytest.raises(Problem, match="ask for less") as failed,
    ):
        list(client.explain("demo", text="effusion"))
    assert (failed.value.code, failed.value.request_id) == ("invalid-query", "abc")


def test_who_closes_an_explanation_is_gone() -> None:
    seen: list[Connection] = []

    def talks_on(connection: Connection) -> None:
        seen.append(connection)
        connection.start()
        connection.send(b'event: hits\ndata: {"hits": []}\n\n')
        connection.hang()

    with answering(talks_on) as server, Client(server.url) as client:
        events = client.explain("demo", text="effusion")
        next(events)
        events.close()  # type: ignore[attr-defined]
        assert seen[0].saw_close.wait(60)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_read_wherever_they_are_cut(size: int) -> None:
    sent = ": wait\n\nevent: piece\r\ndata: é\u2028\r\n\r\ndata: a\ndata: b\n\nevent: lost\ndata: c".encode()
    pieces = [sent[place : place + size] for place in range(0, len(sent), size)]
    assert list(_events(iter(pieces))) == [("piece", "é\u2028"), ("message", "a\nb")]


def test_a_problem_says_what_is_wrong_and_by_which_request(guarded: Served) -> None:
    with Client(guarded.url, key=guarded.key("program")) as client:
        with pytest.raises(Problem) as refused:
            client.search("demo", text="effusion", where="modalty = 'CR'")
        with pytest.raises(Problem) as forbidden:
            client.label("demo", "modality")
    problem = refused.value
    assert (problem.status, problem.code) == (422, "invalid-query")
    assert "Columns: image_id" in problem.detail
    assert str(problem) == f"{problem.detail} (invalid-query, 422; request {problem.request_id})"
    assert (forbidden.value.status, forbidden.value.code) == (403, "forbidden")


def test_the_key_is_taken_from_the_environment(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSIGLIP_KEY", guarded.key("program"))
    with Client(guarded.url) as client, Client(f"{guarded.url}/v1/", key="") as nobody:
        assert [gallery["name"] for gallery in client.galleries()] == ["demo", "other"]
        with pytest.raises(Problem) as refused:
            nobody.galleries()
    assert (refused.value.status, refused.value.code) == (401, "unauthenticated")


def test_too_many_requests_are_tried_again_when_the_service_says() -> None:
    with answering(busy("0"), busy("0"), says("200 OK", [])) as server, Client(server.url) as client:
        assert client.galleries() == []
        assert len(server.requests) == 3


def test_it_waits_as_long_as_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with answering(busy("7"), says("200 OK", [])) as server, Client(server.url) as client:
        assert client.galleries() == []
    assert waits == [7]


@pytest.mark.parametrize(("retry_after", "tries"), [("0", MOST_TRIES), ("3600", 1), ("soon", 1)])
def test_too_many_requests_are_not_tried_for_ever(
    retry_after: str, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with answering(busy(retry_after)) as server, Client(server.url) as client:
        with pytest.raises(Problem) as refused:
            client.galleries()
        assert len(server.requests) == tries
    assert refused.value.code == "too-many-requests"


def test_a_service_that_cannot_be_reached_is_told_with_what_to_do() -> None:
    url = unused_url().removesuffix("/v1")
    with Client(url) as client, pytest.raises(Unreachable) as failed:
        client.galleries()
    assert str(failed.value).startswith(f"{url}: cannot be reached")
    assert str(failed.value).endswith("is the service running, and is that its address?")


def test_a_service_that_says_nothing_is_not_waited_for_for_ever() -> None:
    with (
        answering(Connection.hang) as server,
        Client(server.url, timeout_s=0.2) as client,
        pytest.raises(Unreachable, match="no answer in time"),
    ):
        client.galleries()


def test_a_connection_that_breaks_is_told() -> None:
    with (
        answering(Connection.reset) as server,
        Client(server.url) as client,
        pytest.raises(Unreachable, match="the connection failed"),
    ):
        client.galleries()


@pytest.mark.parametrize(
    ("status", "words"),
    [("502 Bad Gateway", "a proxy"), ("307 Moved", "elsewhere"), ("200 OK", "is its address right")],
)
def test_an_answer_that_is_not_the_services_is_told(status: str, words: str) -> None:
    def page(connection: Connection) -> None:
        connection.start(status, "text/html", "Location: https://other.example/")
        connection.send(b"<h1>hello</h1>")

    with answering(page) as server, Client(server.url) as client, pytest.raises(Problem, match=words) as told:
        client.galleries()
    assert (told.value.status, told.value.code) == (int(status[:3]), "")


@pytest.mark.parametrize("url", ["localhost:7860", "", "ftp://localhost", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="no address of a service"):
        Client(url)


def test_the_environments_proxy_is_no_way_to_this_machine(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, unused_url().removesuffix("/v1"))
    with Client(served.url) as client:
        assert client.galleries()
    with httpx.Client() as other, pytest.raises(httpx.ConnectError):
        other.get(served.url)


def test_names_stay_one_step_of_an_address() -> None:
    with answering(says("200 OK", {})) as server, Client(server.url) as client:
        client.image("a/../b?c", 1)
        assert server.requests[0].head.startswith("GET /v1/galleries/a%2F..%2Fb%3Fc/images/1 ")


def test_a_question_is_what_the_api_takes(served: Served) -> None:
    fields: dict[str, Any] = served.app.openapi()["components"]["schemas"]["SearchRequest"]["properties"]
    assert set(fields) - set(Question.__annotations__) == {"cursor", "parts"}
    assert set(Question.__annotations__) <= set(fields)
