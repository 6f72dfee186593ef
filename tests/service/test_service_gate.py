"""What the gate lets in, and what not: over real HTTP, on the application as it is served."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hostile_case import PATIENT
from hostile_files import CONTENT_CASES
from serving import Served, serving
from starlette.routing import BaseRoute, Mount

from medsiglip_search.errors import Reason
from medsiglip_search.service.access.authenticating import AccessSettings
from medsiglip_search.service.problems import problem_of
from medsiglip_search.service.settings import ServiceLimits

NEEDS_NO_CREDENTIALS = {
    "/healthz": 200,
    "/readyz": 200,
    "/login": 200,
    "/login/oidc": 401,  # no provider is set: it says so
    "/login/oidc/callback": 401,
    "/gradio_api/app_id": 200,
}
"""What answers somebody who has shown nothing, and how; all else is 401."""

FOREIGN_ORIGINS = (
    "https://evil.example",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "https://127.0.0.1",
    "http://127.0.0.1:1",
    "http://127.0.0.1@evil.example",
    "null",
    "file://",
    "chrome-extension://abcdef",
    "http://localhost:7860:evil",
)

SEARCH = "/v1/galleries/demo/searches"


def paths_and_methods(served: Served) -> Iterator[tuple[str, str]]:
    """Yield each address of the application, of Gradio's router too, with every method that it takes."""

    def walk(routes: list[BaseRoute], prefix: str) -> Iterator[tuple[str, str]]:
        for route in routes:
            if isinstance(route, Mount):
                yield from walk(route.routes, prefix + route.path)
                continue
            inner = getattr(route, "original_router", None)
            if inner is not None:  # an included router is a route of its own
                yield from walk(inner.routes, prefix + getattr(route, "prefix", ""))
                continue
            path = re.sub(r"\{[^}]*\}", "1", prefix + getattr(route, "path", ""))
            for method in getattr(route, "methods", None) or ():
                yield path, method

    yield from walk(served.app.routes, "")


def test_every_address_refuses_without_credentials_but_for_a_written_list(guarded: Served) -> None:
    found = sorted(set(paths_and_methods(guarded)))
    # Of the API, of the pages and of Gradio's own router.
    assert {"/v1/galleries/1/searches", "/", "/gradio_api/upload", "/gradio_api/queue/join", "/metrics"} <= {
        path for path, _ in found
    }
    assert len(found) > 80
    with guarded.client() as client:
        answers = {
            (path, method): client.request(method, path).status_code
            for path, method in found
            if path not in NEEDS_NO_CREDENTIALS
        }
    assert {place: status for place, status in answers.items() if status != 401} == {}


def test_the_written_list_answers_and_tells_nothing_of_the_galleries(guarded: Served) -> None:
    with guarded.client() as client:
        answers = {path: client.get(path) for path in NEEDS_NO_CREDENTIALS}
    assert {path: answer.status_code for path, answer in answers.items()} == NEEDS_NO_CREDENTIALS
    assert not any("demo" in answer.text for answer in answers.values())


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/upload", "/gradio_api/file=/etc/passwd", "/monitoring", "/gradio_api/proxy=http://x"],
)
def test_what_pages_do_not_need_of_gradio_is_not_there_for_anybody(guarded: Served, path: str) -> None:
    with guarded.client(guarded.key("somebody", "admin")) as client:
        assert client.get(path).status_code == 404
        assert client.post(path).status_code == 404


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_a_foreign_origin_is_never_reflected_and_its_posts_are_refused(served: Served, origin: str) -> None:
    with served.client() as client:
        for path in ("/", SEARCH, "/gradio_api/queue/join", "/login"):
            sent = {"origin": origin, "content-type": "application/json"}
            posted = client.post(path, content=b"{}", headers=sent)
            assert posted.status_code == 403, path
            asked = client.options(path, headers={**sent, "access-control-request-method": "POST"})
            seen = client.get(path, headers=sent)
            for answer in (posted, asked, seen):
                assert not [name for name in answer.headers if name.startswith("access-control-allow")], path


def test_its_own_pages_may_post(served: Served) -> None:
    with served.client() as client:
        answer = client.post(SEARCH, json={"text": "effusion"}, headers={"origin": served.url})
    assert answer.status_code == 200


def test_a_page_of_another_site_that_hides_its_origin_may_not_post(served: Served) -> None:
    with served.client() as client:
        answer = client.post(SEARCH, json={"text": "effusion"}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "a b"])
def test_another_host_is_refused(served: Served, host: str) -> None:
    answer = raw(served, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    assert answer.split(b" ")[1] in (b"403", b"400")


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip"])
def test_an_open_service_is_not_opened_further_by_a_proxy(served: Served, header: str) -> None:
    with served.client() as client:
        answer = client.get("/v1/galleries", headers={header: "10.0.0.7"})
    assert answer.status_code == 403
    assert "--keys" in answer.json()["detail"]


def test_an_answer_is_for_this_site_and_this_user_alone(served: Served) -> None:
    with served.client() as client:
        for path in ("/", "/v1/galleries", "/v1/galleries/demo/images/1/thumbnail", "/nowhere"):
            headers = client.get(path).headers
            assert headers["cache-control"] == "no-store"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["x-content-type-options"] == "nosniff"
            policy = headers["content-security-policy"]
            assert "frame-ancestors 'none'" in policy
            assert "script-src 'self' 'nonce-" in policy
            assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
            assert re.fullmatch("[0-9a-f]{16}", headers["x-request-id"])


def test_every_page_has_its_own_nonce(served: Served) -> None:
    with served.client() as client:
        first, second = client.get("/"), client.get("/")
    nonces = [set(re.findall(r'<script nonce="([^"]+)"', page.text)) for page in (first, second)]
    assert [len(one) for one in nonces] == [1, 1]
    assert nonces[0] != nonces[1]
    assert f"'nonce-{nonces[0].pop()}'" in first.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"text": "Zebrafink", "where": "Zebrafink = 1"}, 422),
        ({"text": "Zebrafink", "where": "modality = Zebrafink"}, 422),
        ({"text": "Zebrafink", "filters": {"Zebrafink": [1]}}, 422),
        ({"text": "Zebrafink", "filters": {"year": ["Zebrafink"]}}, 422),
        ({"text": "x", "group_by": "Zebrafink"}, 422),
        ({"text": "x", "top_k": "Zebrafink"}, 422),
        ({"Zebrafink": 1}, 422),
        ({"text": "x", "cursor": "Zebrafink"}, 422),
        ({"text": "x", "images": [{"upload": "Zebrafink"}]}, 410),
        ({"text": "Zebrafink " * 10_000}, 413),
        ({"text": "x", "top_k": 100_000}, 413),
        ({"like": [10**30]}, 422),
        ({}, 422),
    ],
)
def test_problems_say_what_is_wrong_and_repeat_nothing(
    served: Served, sent: dict[str, Any], status: int
) -> None:
    with served.client() as client:
        answer = client.post(SEARCH, json=sent)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert set(document) == {"type", "title", "status", "detail", "request_id"}
    assert document["status"] == status
    assert document["request_id"] == answer.headers["x-request-id"]
    assert "zebrafink" not in answer.text.lower()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/Zebrafink", 404),
        ("GET", "/v1/galleries/Zebrafink", 404),
        ("GET", "/v1/galleries/demo/images/Zebrafink", 422),
        ("GET", "/v1/galleries/demo/images/99999", 404),
        ("GET", "/v1/galleries/demo/images/1/picture?window=Zebrafink", 422),
        ("GET", "/Zebrafink", 404),
        ("DELETE", "/v1/galleries", 405),
        ("PUT", SEARCH, 405),
    ],
)
def test_addresses_that_there_are_not(served: Served, method: str, path: str, status: int) -> None:
    with served.client() as client:
        answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "zebrafink" not in answer.text.lower()


def test_a_problem_names_the_columns_that_there_are(served: Served) -> None:
    with served.client() as client:
        told = client.post(SEARCH, json={"text": "x", "where": "modalty = 'CR' AND year > 2000"}).json()
    assert "body_part" in told["detail"]
    assert "year" in told["detail"]
    assert "modalty" not in told["detail"]


def test_somebody_who_asks_too_often_is_told_when_to_come_again(demo_gallery: Path, tmp_path: Path) -> None:
    limits = ServiceLimits(requests_per_minute=1, burst=5)
    with serving(
        {"demo": demo_gallery}, tmp_path / "state", AccessSettings(keys=True), limits=limits
    ) as running:
        with running.client(running.key("often")) as client:
            answers = [client.get("/v1") for _ in range(8)]
        with running.client(running.key("seldom")) as client:
            assert client.get("/v1").status_code == 200
    assert [one.status_code for one in answers[:5]] == [200] * 5
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_a_user_sees_only_the_galleries_of_the_key(guarded: Served) -> None:
    with guarded.client(guarded.key("ward", galleries=frozenset({"other"}))) as client:
        assert [one["name"] for one in client.get("/v1/galleries").json()] == ["other"]
        assert client.post("/v1/galleries/other/searches", json={"text": "effusion"}).status_code == 200
        hidden = client.post(SEARCH, json={"text": "effusion"})
        missing = client.post("/v1/galleries/none/searches", json={"text": "effusion"})
    assert hidden.status_code == missing.status_code == 404
    assert hidden.json()["detail"] == missing.json()["detail"]


def test_what_pages_are_made_of_names_no_gallery(guarded: Served) -> None:
    with guarded.client(guarded.key("other ward", galleries=frozenset({"demo"}))) as client:
        for path in ("/config", "/", "/explain", "/map", "/label", "/jobs", "/case", "/compare"):
            page = client.get(path, headers={"accept": "text/html"})
            assert page.status_code == 200
            assert '"other"' not in page.text, path


def test_hidden_columns_are_in_no_answer(guarded: Served) -> None:
    with guarded.client(guarded.key("reader")) as client:
        [hit] = client.post(SEARCH, json={"text": "effusion", "top_k": 1}).json()["hits"]
        image = client.get(f"/v1/galleries/demo/images/{hit['image_id']}").json()["image"]
        columns = client.get("/v1/galleries/demo").json()["columns"]
    assert "uri" not in hit
    assert "uri" not in image
    assert "uri" not in columns
    assert "modality" in hit


@pytest.mark.parametrize(
    "asked",
    [
        {"where": "uri LIKE '%dcm'"},
        {"where": "URI LIKE '%dcm'"},
        {"where": "`uri` LIKE '%dcm'"},
        {"where": "\"uri\" LIKE '%dcm'"},
        {"where": "lower(uri) LIKE '%dcm'"},
        {"where": "archive LIKE '/%'"},
        {"filters": {"uri": ["x"]}},
        {"filters": {"archive": ["x"]}},
        {"where": "repeat(report, 100000000) LIKE '%x%'"},
        {"where": "modality = 1 / 0 OR year"},
    ],
)
def test_what_is_hidden_cannot_be_asked_after_and_the_store_says_nothing_of_it(
    guarded: Served, asked: dict[str, Any]
) -> None:
    with guarded.client(guarded.key("curious")) as client:
        answers = [
            client.post(SEARCH, json={"text": "effusion", **asked}),
            client.post("/v1/galleries/demo/facets", json=asked),
        ]
    for answer in answers:
        assert answer.status_code == 422
        # No column that is hidden, no place on the server, no word of the store.
        assert not re.search(r"uri|archive|/tmp|DataFusion|Arrow|Lance|lance", answer.json()["detail"])


def test_hidden_columns_are_not_counted(guarded: Served) -> None:
    with guarded.client(guarded.key("counts")) as client:
        counted = client.post(
            "/v1/galleries/demo/facets", json={"columns": ["uri", "archive", "modality"]}
        ).json()
    assert [facet["column"] for facet in counted] == ["modality"]


@pytest.mark.parametrize(
    "asked", [{"like": [987654321]}, {"like": [10**25]}, {"parts": [{"like": 987654321}]}]
)
def test_an_image_that_there_is_not_is_told_without_the_place_of_the_gallery(
    served: Served, asked: dict[str, Any]
) -> None:
    with served.client() as client:
        answer = client.post(SEARCH, json=asked)
    assert answer.status_code == 422
    assert "image_id" in answer.json()["detail"]
    assert not re.search(r"/|987654321|1000000", answer.json()["detail"])


@pytest.mark.parametrize(
    "kind", ["application/json", "application/JSON", "application/vnd.x+json", "text/plain"]
)
def test_nothing_is_repeated_whatever_a_body_is_called(served: Served, kind: str) -> None:
    with served.client() as client:
        body = json.dumps({"text": "x", "where": "Zebrafink = 1"}).encode()
        answer = client.post(SEARCH, content=body, headers={"content-type": kind})
    assert answer.status_code == 422
    assert "zebrafink" not in answer.text.lower()


def test_words_of_the_api_and_of_ones_own_galleries_stay_in_messages(served: Served) -> None:
    with served.client() as client:
        empty = client.post("/v1/galleries/demo/images/1/heatmap", json={"text": " "}).json()["detail"]
    assert empty == "the text is empty; say what to look for in the picture"


def test_json_is_not_read_beyond_a_size_that_it_needs(served: Served) -> None:
    with served.client() as client:
        answer = client.post(SEARCH, json={"text": "x", "x": [{}] * 600_000})
    assert answer.status_code == 413


def test_methods_that_there_are_not_are_counted_as_one(guarded: Served) -> None:
    with guarded.client(guarded.key("counting", "admin")) as client:
        client.request("ZEBRAFINK", "/v1")
        told = client.get("/metrics").text
    assert 'method="other"' in told
    assert "ZEBRAFINK" not in told


def test_an_archive_is_told_by_its_name(served: Served) -> None:
    with served.client() as client:
        [hit] = client.post(SEARCH, json={"text": "effusion", "top_k": 1}).json()["hits"]
    assert hit["archive"] == "scans"


def test_uploads_are_their_senders_alone(guarded: Served, demo_archive: Path) -> None:
    picture = next(demo_archive.rglob("*.dcm")).read_bytes()
    with guarded.client(guarded.key("first")) as first, guarded.client(guarded.key("second")) as second:
        kept = first.post("/v1/uploads", files={"file": picture})
        token = kept.json()["upload"]
        asked = {"images": [{"upload": token}], "top_k": 1}
        assert kept.status_code == 201
        assert first.get(f"/v1/uploads/{token}/preview").headers["content-type"] == "image/jpeg"
        assert first.post(SEARCH, json=asked).status_code == 200
        assert second.post(SEARCH, json=asked).status_code == 410
        assert second.get(f"/v1/uploads/{token}/preview").status_code == 410


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"a text, and no picture at all", "not_an_image"),
        (b"", "not_an_image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "malformed"),
        (b"%PDF-1.7 pretends", "not_an_image"),
    ],
)
def test_an_upload_is_what_it_holds(served: Served, content: bytes, code: str) -> None:
    with served.client() as client:
        answer = client.post("/v1/uploads", files={"file": ("lungs.png", content, "image/png")})
    assert answer.status_code == 422
    assert answer.json()["type"] == f"urn:medsiglip-search:problem:unreadable-picture:{code}"
    assert "lungs" not in answer.text


def test_the_pages_library_keeps_and_shows_nothing_of_its_own(served: Served) -> None:
    with served.client() as client:
        config = client.get("/config").json()
    off = ("analytics_enabled", "dev_mode", "mcp_server", "pwa", "run_history", "show_error", "vibe_mode")
    assert {name: config[name] for name in off} == dict.fromkeys(off, False)
    assert config["footer_links"] == []
    assert config["space_id"] is None


def test_a_full_disk_is_a_problem_of_its_own_and_names_no_place() -> None:
    problem = problem_of(OSError(28, "No space left on device", "/state/jobs/1"))
    assert (problem.status, problem.code) == (507, "disk-full")
    assert "/state" not in problem.words("1")


HOSTILE = (
    *("png_60000_squared", "png_100_megapixels", "png_1_megapixel_that_inflates_to_256"),
    *("png_wrong_checksum_of_the_pixels", "jpeg_2000_says_60000_squared", "rle_bomb_beyond_its_size"),
    *("rle_header_cut", "nested_100000_deep", "offset_table_of_a_million_frames", "deflate_bomb"),
)


def test_hostile_uploads_are_refused_for_what_they_are_and_the_service_stays_up(served: Served) -> None:
    cases = [CONTENT_CASES[name] for name in HOSTILE]
    with served.client() as client:
        answers = [client.post("/v1/uploads", files={"file": ("x", case.build())}) for case in cases]
        assert client.post(SEARCH, json={"text": "effusion"}).status_code == 200
    told = {
        case.name: answer.json()["type"].rpartition(":")[2]
        for case, answer in zip(cases, answers, strict=True)
        if answer.status_code == 422
    }
    expected = {case.name: case.outcome.value for case in cases if isinstance(case.outcome, Reason)}
    assert told == expected
    assert len(expected) >= 9
    assert not any(PATIENT in answer.text for answer in answers)


def test_a_request_that_is_too_large_is_refused_before_it_is_read(served: Served) -> None:
    said = raw(
        served, f"POST /v1/uploads HTTP/1.1\r\nHost: {host(served)}\r\nContent-Length: 99999999999\r\n\r\n"
    )
    assert said.startswith(b"HTTP/1.1 413")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["status"] == 413


def test_a_body_that_grows_too_large_is_cut_off(demo_gallery: Path, tmp_path: Path) -> None:
    limits = ServiceLimits(body_bytes=1 << 20)
    with (
        serving({"demo": demo_gallery}, tmp_path / "state", limits=limits) as running,
        running.client() as client,
    ):
        begin = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        pieces = (begin if number == 0 else b"x" * 65_536 for number in range(64))
        answer = client.post(
            "/v1/uploads", content=pieces, headers={"content-type": "multipart/form-data; boundary=b"}
        )
        assert answer.status_code == 413
        assert client.get("/healthz").status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(demo_gallery: Path, tmp_path: Path) -> None:
    limits = ServiceLimits(body_wait_s=0.3)
    with serving({"demo": demo_gallery}, tmp_path / "state", limits=limits) as running:
        said = raw(
            running,
            f"POST {SEARCH} HTTP/1.1\r\nHost: {host(running)}\r\nContent-Type: application/json\r\n"
            'Content-Length: 1000\r\n\r\n{"text',
        )
        assert said.startswith(b"HTTP/1.1 503")
        with running.client() as client:
            assert client.get("/healthz").status_code == 200


def test_half_sent_requests_leave_the_service_up(served: Served) -> None:
    for sent in (
        f"POST /v1/uploads HTTP/1.1\r\nHost: {host(served)}\r\nContent-Length: 500\r\n\r\nhalf",
        f"POST {SEARCH} HTTP/1.1\r\nHost: {host(served)}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "GARBAGE\r\n\r\n",
        f"GET /{'x' * 100_000} HTTP/1.1\r\nHost: {host(served)}\r\n\r\n",
    ):
        with connected(served) as channel:
            channel.sendall(sent.encode())
            channel.shutdown(socket.SHUT_WR)
            while channel.recv(65_536):
                pass
    with served.client() as client:
        assert client.get("/healthz").status_code == 200


def test_metrics_count_by_route_and_are_for_administrators(guarded: Served) -> None:
    with guarded.client(guarded.key("reader")) as client:
        client.post(SEARCH, json={"text": "effusion"})
        assert client.get("/metrics").status_code == 403
    with guarded.client(guarded.key("head", "admin")) as client:
        told = client.get("/metrics").text
    route = "/v1/galleries/{gallery}/searches"
    assert f'medsiglip_requests_total{{method="POST",route="{route}",status="200"}} ' in told
    assert 'medsiglip_gallery_ready{gallery="demo"} 1.0' in told
    assert 'medsiglip_images{gallery="demo"} 90.0' in told


def connected(served: Served) -> socket.socket:
    place = urlsplit(served.url)
    assert place.hostname is not None
    return socket.create_connection((place.hostname, place.port or 80), timeout=30)


def host(served: Served) -> str:
    return urlsplit(served.url).netloc


def raw(served: Served, request: str) -> bytes:
    """Send bytes as they are, and return what comes back until the other end has nothing more to say."""
    with connected(served) as channel:
        channel.sendall(request.encode())
        said = b""
        while piece := channel.recv(65_536):
            said += piece
            head, _, body = said.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            if length and len(body) >= int(length[1]):
                break
        return said
