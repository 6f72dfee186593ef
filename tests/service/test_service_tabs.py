"""What happens in a tab is told to whoever opened it; Gradio alone tells all who know its number."""

import json
from typing import Any

import httpx
import pytest
from serving import Served

from medsiglip_search.errors import NotFound
from medsiglip_search.service.tabs import Tabs

RUN, JOIN, LISTEN = "/gradio_api/run/predict", "/gradio_api/queue/join", "/gradio_api/queue/data"


def test_a_tab_is_its_first_users_alone() -> None:
    tabs = Tabs()
    tabs.require("one", "ann")
    tabs.require("one", "ann")
    with pytest.raises(NotFound):
        tabs.require("one", "bob")
    tabs.require("two", "bob")


def test_many_tabs_of_one_user_push_out_their_own_oldest_and_nobody_elses() -> None:
    tabs = Tabs(most_each=3)
    tabs.require("bob's", "bob")
    for number in range(3):
        tabs.require(str(number), "ann")
    tabs.require("0", "ann")
    tabs.require("3", "ann")  # "1" was used the longest ago
    tabs.require("1", "carl")
    for tab in ("bob's", "0", "2", "3"):
        with pytest.raises(NotFound):
            tabs.require(tab, "carl")


def search_event(client: httpx.Client) -> dict[str, Any]:
    """Return the call by which the page asks its server for something, as a browser would send it."""
    config = client.get("/config").json()
    loaded = next(
        one for one in config["dependencies"] if any(target[1] == "load" for target in one["targets"])
    )
    values = {one["id"]: one["props"].get("value") for one in config["components"]}
    return {"fn_index": loaded["id"], "data": [values.get(id_) for id_ in loaded["inputs"]]}


def test_nobody_listens_to_calls_into_or_ends_another_users_tab(guarded: Served) -> None:
    first, second = (guarded.client(guarded.key(name)) for name in ("opens", "listens"))
    with first, second:
        call = {**search_event(first), "session_hash": "tabofthefirst"}
        joined = first.post(JOIN, json=call)
        assert joined.status_code == 200
        event = joined.json()["event_id"]
        refused = [
            second.get(LISTEN, params={"session_hash": "tabofthefirst"}),
            second.get(LISTEN, params=[("session_hash", "own"), ("session_hash", "tabofthefirst")]),
            second.post(JOIN, json=call),
            second.post(RUN, json=call),
            second.post(
                "/gradio_api/cancel",
                json={"session_hash": "tabofthefirst", "fn_index": call["fn_index"], "event_id": event},
            ),
            second.get("/gradio_api/heartbeat/tabofthefirst"),
        ]
        assert first.post(RUN, json=call).status_code == 200
        heard = []
        with first.stream("GET", LISTEN, params={"session_hash": "tabofthefirst"}) as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    heard.append(json.loads(line.removeprefix("data: "))["msg"])
                    if heard[-1] == "process_completed":
                        break
    assert [answer.status_code for answer in refused] == [404] * 6
    assert heard[-1] == "process_completed"


@pytest.mark.parametrize("path", [RUN, JOIN])
@pytest.mark.parametrize("body", [b"{}", b"[]", b"no JSON", b'{"session_hash": 7}', b'{"session_hash": ""}'])
def test_a_call_that_names_no_tab_is_refused(served: Served, path: str, body: bytes) -> None:
    with served.client() as client:
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert client.get(LISTEN).status_code == 422
    assert answer.status_code == 422


@pytest.mark.parametrize("path", [RUN, JOIN])
def test_a_call_is_no_larger_than_a_page_needs(served: Served, path: str) -> None:
    with served.client() as client:
        answer = client.post(path, json={"session_hash": "large", "data": ["x" * (5 << 20)]})
    assert answer.status_code == 413


def test_only_what_streams_is_listened_for(served: Served) -> None:
    """An answer that is listened for may be missed: a browser stops to listen while the next call begins."""
    with served.client() as client:
        events = [one for one in client.get("/config").json()["dependencies"] if one["backend_fn"]]
    assert len(events) > 30
    assert [one["queue"] for one in events] == [one["types"]["generator"] for one in events]
    assert 0 < sum(one["queue"] for one in events) < 3


def test_a_call_that_cannot_be_answered_has_the_status_of_its_problem(served: Served) -> None:
    with served.client() as client:
        events = client.get("/config").json()["dependencies"]
        [turn] = [one["id"] for one in events if one["api_name"] == "act"]
        call = {"fn_index": turn, "data": [None], "event_data": {"value": {"do": "next"}}}
        answer = client.post(RUN, json={**call, "session_hash": "told"})
    assert answer.status_code == 422
    told = f"There is no next page; search again. (ref {answer.headers['x-request-id']})"
    assert answer.json()["error"] == f"Cannot be answered as it stands. {told}"


def test_a_page_is_told_in_words_and_without_what_it_sent(served: Served, guarded: Served) -> None:
    with served.client() as client:
        events = client.get("/config").json()["dependencies"]
        [change] = [one["id"] for one in events if one["api_name"] == "change_gallery"]
        call = {"fn_index": change, "data": ["nowhere"], "session_hash": "older"}
        older = client.post(RUN, json=call)
    with guarded.client() as client:
        out = client.post(RUN, json=call)
    assert (older.status_code, out.status_code) == (410, 401)
    reference = f"(ref {older.headers['x-request-id']})"
    assert older.json()["error"] == (
        f"No longer there. The page does not fit the service any more; load it again. {reference}"
    )
    assert "nowhere" not in older.text
    assert out.json()["error"].startswith("Sign in first. ")


@pytest.mark.parametrize("path", [RUN, JOIN, "/gradio_api/cancel"])
def test_what_the_pages_library_refuses_is_a_problem_that_repeats_nothing(served: Served, path: str) -> None:
    bodies = [
        {"data": "canary"},
        {"data": [], "fn_index": 999},
        {"data": [], "fn_index": -1},
        {"fn_index": "canary"},
    ]
    with served.client() as client:
        answers = [client.post(path, json={**body, "session_hash": "odd"}) for body in bodies]
        assert client.get("/v1").status_code == 200
    told = [answer for answer in answers if answer.status_code != 200]
    assert {answer.headers["content-type"] for answer in told} <= {"application/problem+json"}
    assert len(told) >= 3
    assert not any("canary" in answer.text for answer in answers)


def test_a_question_before_the_page_has_loaded_is_of_a_gallery_that_one_may_use(guarded: Served) -> None:
    with guarded.client(guarded.key("early", galleries=frozenset({"other"}))) as client:
        events = client.get("/config").json()["dependencies"]
        [ask] = [one["id"] for one in events if one["api_name"] == "ask"]
        data = [None, "melanoma", None, "", "20", "", "", None, False, ""]
        answer = client.post(RUN, json={"fn_index": ask, "data": data, "session_hash": "early"})
    assert answer.status_code == 200
    assert 'data-gallery="other"' in answer.json()["data"][-1]
    assert "demo" not in answer.text
