"""Label sets, label, index and evaluate runs, jobs and reviews over HTTP."""

import csv
import io
import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Served, serving

from medsiglip_search.cli import main
from medsiglip_search.labels.reading import parse_label_set
from medsiglip_search.labels.shipped import shipped_names, shipped_text
from medsiglip_search.labels.writing import yaml_of
from medsiglip_search.service.access.authenticating import AccessSettings
from medsiglip_search.service.audit import records
from medsiglip_search.service.reviews import Review, add_review, agreed, read_reviews

LONG_S = 120.0
CANARY = "Zebrafinch"
LUNG = """\
name: lung
mode: findings
templates: {absent: ["no {}"]}
labels:
  effusion:
    present: [pleural effusion]
  nodule:
    present: [lung nodule]
"""
BILLION_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1"
HOSTILE = {
    "billion laughs": BILLION_LAUGHS,
    "python tag": f"!!python/object/apply:os.system ['echo {CANARY}']",
    "python tag below": f"mode: findings\nlabels: !!python/name:{CANARY}.x",
    "no YAML": f"mode: [{CANARY}",
    "unknown key": f"mode: findings\n{CANARY}: 1\nlabels: {{a: {{present: [b], absent: [c]}}}}",
    "formula": f"mode: findings\nlabels: {{'=HYPERLINK({CANARY})': {{present: [b], absent: [c]}}}}",
    "half a character": f'mode: findings\nlabels: {{a: {{present: ["{CANARY} \\ud800"], absent: [c]}}}}',
    "raw half": "mode: \ud800",
    "deep": "[" * 50_000,
    "large": "#" * (257 << 10),
    "empty": "",
}


@pytest.fixture(scope="module")
def ward(demo_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that asks for keys, with a gallery of its own to write to."""
    folder = tmp_path_factory.mktemp("ward")
    shutil.copytree(demo_gallery, folder / "gallery")
    archives = {"scans": str(demo_gallery.parent / "archive"), "elsewhere": "/nowhere"}
    galleries = {"ward": folder / "gallery", "other": demo_gallery}
    with serving(galleries, folder / "state", AccessSettings(keys=True), archives=archives) as running:
        yield running


@pytest.fixture(scope="module")
def keys(ward: Served) -> dict[str, str]:
    return {
        "reader": ward.key("rita", "reader"),
        "ann": ward.key("ann", "labeller"),
        "bob": ward.key("bob", "labeller"),
        "admin": ward.key("root", "admin"),
    }


@pytest.fixture
def ann(ward: Served, keys: dict[str, str]) -> Iterator[httpx.Client]:
    with ward.client(keys["ann"]) as client:
        yield client


@pytest.fixture
def admin(ward: Served, keys: dict[str, str]) -> Iterator[httpx.Client]:
    with ward.client(keys["admin"]) as client:
        yield client


def ended(client: httpx.Client, begun: httpx.Response) -> dict[str, Any]:
    """Return the job that an answer of 202 names, once it has ended: the last of its events."""
    assert begun.status_code == 202, begun.text
    assert begun.headers["Location"] == f"/v1/jobs/{begun.json()['id']}"
    with client.stream("GET", begun.headers["Location"] + "/events", timeout=LONG_S) as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        told = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
    assert told[-1] == client.get(begun.headers["Location"]).json()
    assert all(one["state"] in ("waiting", "running") for one in told[:-1])
    return told[-1]


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def audited(served: Served, action: str) -> list[Any]:
    return [one for one in records(served.service.settings.state) if one.action == action]


def test_the_shipped_label_sets_are_told_and_read_back(ann: httpx.Client) -> None:
    listed = ann.get("/v1/label-sets").json()
    assert [one["name"] for one in listed] == list(shipped_names())
    for one in listed:
        text = ann.get(f"/v1/label-sets/{one['name']}")
        assert text.text == shipped_text(one["name"])
        read = parse_label_set(text.text, "set", "set")
        assert (read.digest, read.mode, read.source) == (one["digest"], one["mode"], one["source"])
        assert parse_label_set(yaml_of(read), "written", "set") == read
    missing = ann.get(f"/v1/label-sets/{CANARY}")
    assert problem(missing) == (404, "not-found")
    assert CANARY not in missing.text


def test_a_set_that_is_written_says_the_same_however_odd_its_words() -> None:
    texts = [
        "no",
        "12",
        "a: b",
        "# x",
        "'q' \"d\"",
        "😀 {}",
        "-",
        "- a",
        "NULL",
        "e\u0301",
        "a\u200bb",
        "\\n",
    ]
    odd = json.dumps(texts, ensure_ascii=False)
    read = parse_label_set(
        f"mode: findings\nlabels: {{on 1: {{present: {odd}, absent: [z], threshold: 0.1}}}}", "a", "Yes"
    )
    assert read.labels[0].prompts == tuple(texts)
    assert parse_label_set(yaml_of(read), "b", "c") == read


def test_a_label_run_makes_what_the_command_makes(
    ward: Served, ann: httpx.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lung.yaml").write_text(LUNG)
    out = tmp_path / "labels.csv"
    where = "modality = 'CR'"
    gallery = str(ward.service.settings.galleries["ward"])
    with pytest.raises(SystemExit, match="0"):
        main(
            [
                "label",
                gallery,
                str(tmp_path / "lung.yaml"),
                "--out",
                str(out),
                "--where",
                where,
                "--json",
            ]
        )
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    asked = {"yaml": LUNG, "filters": {"modality": ["CR"]}}
    job = ended(ann, ann.post("/v1/galleries/ward/label-runs", json=asked))
    assert (job["state"], job["problem"], job["owner"]) == ("done", "", "ann")
    assert job["summary"]["labels"] == expected
    files = {one["name"]: one for one in job["files"]}
    answer = ann.get(files["labels.csv"]["href"])
    told, made = (list(csv.DictReader(io.StringIO(text))) for text in (answer.text, out.read_text()))
    # All that the command writes, but for the place of the archive on the server.
    assert told == [{name: cell for name, cell in row.items() if name != "archive"} for row in made]
    assert len(answer.content) == files["labels.csv"]["size_bytes"]
    assert answer.headers["content-disposition"] == 'attachment; filename="labels.csv"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    exported = audited(ward, "export")[-1]
    assert (exported.who, exported.gallery, exported.subjects) == ("ann", "ward", (job["id"],))
    assert exported.details["file"] == "labels.csv"
    started = audited(ward, "label")[-1]
    assert (started.subjects, started.details["images"]) == ((job["id"],), job["summary"]["count"])


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_label_sets_are_refused_without_a_word_of_theirs(ann: httpx.Client, text: str) -> None:
    body = json.dumps({"yaml": text})
    answer = ann.post(
        "/v1/galleries/ward/label-runs", content=body, headers={"content-type": "application/json"}
    )
    assert problem(answer) == (422, "invalid-label-set")
    assert CANARY.lower() not in answer.text.lower()


def test_a_mistake_in_a_label_set_is_told_by_its_line(ann: httpx.Client) -> None:
    text = LUNG.replace("present: [lung nodule]", f"presnt: [{CANARY}]")
    answer = ann.post("/v1/galleries/ward/label-runs", json={"yaml": text})
    assert problem(answer) == (422, "invalid-label-set")
    assert "the label set, line 8:" in answer.json()["detail"]
    assert "write present" in answer.json()["detail"]


def test_a_label_set_that_is_nested_without_end_is_told_as_such(ann: httpx.Client) -> None:
    answer = ann.post("/v1/galleries/ward/label-runs", json={"yaml": "[" * 100_000 + "]" * 100_000})
    assert problem(answer) == (422, "invalid-label-set")
    assert answer.json()["detail"].startswith("the label set: lists in lists are nested too deep;")


@pytest.mark.parametrize(
    "asked",
    [{}, {"yaml": LUNG, "label_set": "modality"}, {"yaml": LUNG, "where": "modality = 'none'"}, {"lable": 1}],
)
def test_a_run_that_says_too_little_or_too_much_is_refused(ann: httpx.Client, asked: Any) -> None:
    assert problem(ann.post("/v1/galleries/ward/label-runs", json=asked)) == (422, "invalid-query")


def test_roles_are_kept(ward: Served, keys: dict[str, str]) -> None:
    truth = {"truth": ("t.csv", b"path,effusion\na,1\n")}
    said = {"label_set": "lung", "label_set_digest": "0" * 64, "label": "a", "image_id": 1}
    with ward.client(keys["reader"]) as reader, ward.client(keys["ann"]) as ann:
        for refused in (
            reader.post("/v1/galleries/ward/label-runs", json={"label_set": "modality"}),
            reader.post("/v1/galleries/ward/evaluations", files=truth),
            reader.post(
                "/v1/galleries/ward/reviews", json={**said, "answer": "agree", "decision": "present"}
            ),
            reader.get("/v1/galleries/ward/reviews"),
            ann.post("/v1/galleries/ward/index-runs", json={"archives": ["scans"]}),
            ann.delete("/v1/galleries/ward/images/1"),
        ):
            assert problem(refused) == (403, "forbidden")
        assert reader.get("/v1/jobs").json() == {"jobs": [], "cursor": None}
    with ward.client() as nobody:
        assert nobody.get("/v1/label-sets").status_code == 401


def test_jobs_are_seen_by_their_owner_and_administrators(ward: Served, keys: dict[str, str]) -> None:
    with (
        ward.client(keys["ann"]) as ann,
        ward.client(keys["bob"]) as bob,
        ward.client(keys["admin"]) as admin,
        ward.client(ward.key("far", "admin", frozenset({"other"}))) as far,
    ):
        asked = {"label_set": "modality"}
        jobs = [ended(ann, ann.post("/v1/galleries/ward/label-runs", json=asked))["id"] for _ in range(3)]
        own = ended(bob, bob.post("/v1/galleries/ward/label-runs", json=asked))["id"]
        for other in (bob, far):
            for path in ("", "/events", "/files/labels.csv"):
                assert problem(other.get(f"/v1/jobs/{jobs[0]}{path}")) == (404, "not-found")
            assert problem(other.delete(f"/v1/jobs/{jobs[0]}")) == (404, "not-found")
        assert [one["id"] for one in bob.get("/v1/jobs").json()["jobs"]] == [own]
        first = admin.get("/v1/jobs", params={"count": 3}).json()
        assert [one["id"] for one in first["jobs"]] == [own, jobs[2], jobs[1]]
        second = admin.get("/v1/jobs", params={"count": 3, "cursor": first["cursor"]}).json()
        assert second["jobs"][0]["id"] == jobs[0]
        assert problem(bob.get("/v1/jobs", params={"cursor": jobs[0]})) == (410, "gone")
        assert problem(ann.get(f"/v1/jobs/{jobs[0]}/files/job.json")) == (404, "not-found")
        assert problem(ann.get(f"/v1/jobs/{jobs[0]}/files/..%2fjob.json")) == (404, "not-found")
        assert problem(ann.get(f"/v1/jobs/{CANARY}")) == (404, "not-found")


def test_an_index_run_brings_a_gallery_up_to_date_and_others_are_refused(admin: httpx.Client) -> None:
    asked = {"archives": ["scans", CANARY]}
    unknown = admin.post("/v1/galleries/ward/index-runs", json=asked)
    assert problem(unknown) == (404, "not-found")
    assert CANARY not in unknown.text
    assert problem(admin.post("/v1/galleries/ward/index-runs", json={"archives": []}))[0] == 422
    job = ended(admin, admin.post("/v1/galleries/ward/index-runs", json={"archives": ["scans"]}))
    assert (job["state"], job["problem"]) == ("done", "")
    assert job["summary"]["archives"] == ["scans"]
    assert (job["summary"]["embedded"], job["summary"]["unchanged"]) == (0, 88)
    gone = ended(admin, admin.post("/v1/galleries/ward/index-runs", json={"archives": ["elsewhere"]}))
    assert gone["state"] == "failed"
    assert "/nowhere" not in json.dumps(gone)


def test_a_table_that_is_a_picture_is_refused_at_once(ann: httpx.Client) -> None:
    answer = ann.post("/v1/galleries/ward/evaluations", files={"truth": (f"{CANARY}.csv", PNG)})
    assert problem(answer) == (422, "invalid-truth")
    assert CANARY not in answer.text


def say(client: httpx.Client, digest: str, label: str, image_id: int, answer: str | None, **more: Any) -> Any:
    said = {"label_set": "lung", "label_set_digest": digest, "label": label, "image_id": image_id}
    told = client.post(
        "/v1/galleries/ward/reviews", json={"decision": "present", **said, "answer": answer, **more}
    )
    assert told.status_code == 201, told.text
    return told.json()


def test_reviews_become_a_truth_table_that_an_evaluation_takes(ward: Served, keys: dict[str, str]) -> None:
    digest = parse_label_set(LUNG, "a", "lung").digest
    with ward.client(keys["ann"]) as ann, ward.client(keys["bob"]) as bob:
        ids = ward.service.galleries["ward"].view.gallery.select("modality = 'CR'").tolist()[:24]
        for place, image_id in enumerate(ids[:20]):
            answer = "agree" if place % 2 else "disagree"
            say(ann, digest, "effusion", image_id, answer)
        assert say(ann, digest, "effusion", ids[0], "agree")["who"] == "ann"  # the last one counts
        say(bob, digest, "effusion", ids[1], "disagree")  # they differ
        say(ann, digest, "nodule", ids[0], "disagree", decision="absent")  # so it is there
        say(ann, digest, "nodule", ids[1], "unsure")
        say(ann, digest, "effusion", ids[2], None)  # taken back
        listed = ann.get("/v1/galleries/ward/reviews").json()
        assert [one for one in listed if one["image_id"] == ids[2]] == []
        assert {one["who"] for one in listed if one["image_id"] == ids[1]} == {"ann", "bob"}
        as_csv = ann.get("/v1/galleries/ward/reviews", params={"format": "csv"})
        rows = list(csv.DictReader(io.StringIO(as_csv.text)))
        assert [(row["image_id"], row["label"], row["answer"], row["who"], row["when"]) for row in rows] == [
            (str(one["image_id"]), one["label"], one["answer"], one["who"], one["when"]) for one in listed
        ]
        table = ann.get("/v1/galleries/ward/reviews", params={"format": "truth"})
        by_path = {row["path"]: row for row in csv.DictReader(io.StringIO(table.text))}
        paths = [one.uri for one in ward.service.galleries["ward"].view.gallery.instances(ids[:4])]
        assert (by_path[paths[0]]["effusion"], by_path[paths[0]]["nodule"]) == ("1", "1")
        assert (by_path[paths[1]]["effusion"], by_path[paths[1]]["nodule"]) == ("-1", "-1")
        assert paths[2] not in by_path
        assert (by_path[paths[3]]["effusion"], by_path[paths[3]]["nodule"]) == ("1", "")
        files = {"truth": ("truth.csv", table.content)}
        asked = {"label_sets": ["chexpert-13"], "retrieval": "false"}
        job = ended(ann, ann.post("/v1/galleries/ward/evaluations", files=files, data=asked))
        assert job["state"] == "failed"  # that set has a label effusion of another name
        table = table.text.replace("effusion", "pleural effusion")
        files = {"truth": ("truth.csv", table.encode())}
        job = ended(ann, ann.post("/v1/galleries/ward/evaluations", files=files, data=asked))
        assert (job["state"], job["problem"]) == ("done", "")
        assert job["summary"]["images"] == 19
        missing = say_problem(ann, digest, 10**9)
        assert problem(missing) == (404, "not-found")
    reviewed = next(one for one in audited(ward, "review") if one.outcome == "done")
    assert (reviewed.who, reviewed.details["answer"]) == ("ann", "disagree")


def test_no_cell_of_a_table_of_reviews_is_a_formula(served: Served) -> None:
    names = ("=1+1", "+cmd", "@sum", "-x", "\tx", "-1.5", "plain")
    review = {
        "label_set": "=own",
        "label_set_digest": "f" * 64,
        "image_id": 1,
        "decision": "present",
        "answer": "agree",
    }
    asked = {"label_set_digest": "f" * 64}
    with served.client() as client:
        for name in names:
            said = client.post("/v1/galleries/demo/reviews", json={**review, "label": name})
            assert said.status_code == 201
        tables = [
            client.get("/v1/galleries/demo/reviews", params={**asked, "format": form}).text
            for form in ("csv", "truth")
        ]
    rows = list(csv.DictReader(io.StringIO(tables[0])))
    harmless = ["'=1+1", "'+cmd", "'@sum", "'-x", "'\tx", "-1.5", "plain"]
    assert [row["label"] for row in rows] == harmless
    assert {row["label_set"] for row in rows} == {"'=own"}
    assert {row["image_id"] for row in rows} == {"1"}
    assert tables[1].splitlines()[0].split(",") == ["path", "frame", *harmless]


def say_problem(client: httpx.Client, digest: str, image_id: int) -> httpx.Response:
    said = {"label_set": "lung", "label_set_digest": digest, "label": "a", "image_id": image_id}
    return client.post("/v1/galleries/ward/reviews", json={**said, "answer": "agree", "decision": "present"})


def one_review(answer: Any = "agree", who: str = "ann", image_id: int = 1) -> Review:
    return Review("lung", "0" * 64, "nodule", image_id, "present", answer, who, "2024-01-01T00:00:00+00:00")


def test_reviews_survive_a_line_that_was_half_written(tmp_path: Path) -> None:
    folder = tmp_path / "reviews"
    add_review(folder, "ward", one_review())
    file = folder / "ward.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with file.open("ab") as lines:
        lines.write(b'{"label_set":"lu')
    assert read_reviews(folder, "ward") == [one_review()]
    add_review(folder, "ward", one_review("disagree", "bob"))
    assert read_reviews(folder, "ward") == [one_review(), one_review("disagree", "bob")]
    assert file.read_bytes().count(b"\n") == 2
    assert agreed(read_reviews(folder, "ward")) == {1: {"nodule": None}}
    assert read_reviews(folder, "none") == []


def test_an_image_is_deleted_by_an_administrator_and_the_audit_knows_before(
    ward: Served, admin: httpx.Client
) -> None:
    image_id = int(ward.service.galleries["ward"].view.gallery.select(None)[-1])
    path = f"/v1/galleries/ward/images/{image_id}"
    with ward.service.galleries["ward"].view.gallery.writer():
        assert problem(admin.delete(path)) == (409, "gallery-locked")
    assert admin.get(path).status_code == 200
    before = len(audited(ward, "delete"))
    assert admin.delete(path).json() == {"images": 1, "rejected": 0}
    assert problem(admin.get(path)) == (404, "not-found")
    assert problem(admin.delete(path)) == (404, "not-found")
    asked, done = audited(ward, "delete")[before : before + 2]
    assert (asked.subjects, asked.details["stage"]) == ((str(image_id),), "asked")
    assert (done.subjects, done.details["stage"], done.outcome) == ((str(image_id),), "deleted", "done")


def test_a_job_is_cancelled_by_its_owner(ward: Served, admin: httpx.Client) -> None:
    begun = admin.post("/v1/galleries/ward/index-runs", json={"archives": ["scans"]})
    waiting = admin.post("/v1/galleries/ward/index-runs", json={"archives": ["scans"]})
    cancelled = admin.delete(waiting.headers["Location"])
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert ended(admin, waiting)["state"] == "cancelled"
    assert ended(admin, begun)["state"] == "done"
    assert audited(ward, "cancel")[-1].subjects == (waiting.json()["id"],)
