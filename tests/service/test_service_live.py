"""A service while its galleries change, break and come back, and while it is told to end."""

import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import gradient
from full_disk import largest_file
from pictures import saved
from service_process import service_process
from serving import Served, serving

from medsiglip_search.cli import main
from medsiglip_search.service.audit import verify

LONG_S = 60.0


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that the service comes to by itself."""
    ends = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.05)


@pytest.fixture
def own_gallery(demo_gallery: Path, tmp_path: Path) -> Path:
    """A copy that may be written to."""
    return Path(shutil.copytree(demo_gallery, tmp_path / "own"))


def images_of(served: Served) -> int:
    with served.client() as client:
        [gallery] = client.get("/v1/galleries").json()
        assert isinstance(gallery["images"], int)
        return gallery["images"]


def run(*arguments: str | Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    assert ended.value.code in (0, None)


def test_new_images_are_found_and_deleted_ones_are_not_without_a_restart(
    own_gallery: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    gradient(5).save(more / "new.png")
    with serving({"own": own_gallery}, tmp_path / "state") as running:
        assert images_of(running) == 90
        run("index", own_gallery, more)
        until(lambda: images_of(running) == 91)
        with running.client() as client:
            upload = client.post("/v1/uploads", files={"file": (more / "new.png").read_bytes()}).json()[
                "upload"
            ]
            asked = {"images": [{"upload": upload}], "top_k": 1}
            [hit] = client.post("/v1/galleries/own/searches", json=asked).json()["hits"]
            assert hit["score"] == pytest.approx(1, abs=1e-3)
            run("delete", own_gallery, "--where", f"image_id = {hit['image_id']}")
            until(lambda: images_of(running) == 90)
            gone = client.get(f"/v1/galleries/own/images/{hit['image_id']}")
            [other] = client.post("/v1/galleries/own/searches", json=asked).json()["hits"]
    assert gone.status_code == 404
    assert other["image_id"] != hit["image_id"]


def test_a_page_of_a_version_that_is_no_more_is_told_to_begin_again(
    own_gallery: Path, tmp_path: Path
) -> None:
    with serving({"own": own_gallery}, tmp_path / "state") as running, running.client() as client:
        search = "/v1/galleries/own/searches"
        first = client.post(search, json={"text": "effusion", "top_k": 5}).json()
        run("delete", own_gallery, "--where", "image_id = 3")
        until(lambda: images_of(running) == 89)
        second = client.post(search, json={"text": "effusion", "top_k": 5, "cursor": first["cursor"]})
    assert second.status_code == 410
    assert second.json()["type"].endswith("cursor-expired")
    assert "first page" in second.json()["detail"]


def test_a_gallery_that_breaks_is_told_and_comes_back_when_it_is_mended(
    own_gallery: Path, demo_gallery: Path, tmp_path: Path
) -> None:
    galleries = {"own": own_gallery, "whole": demo_gallery}
    with serving(galleries, tmp_path / "state") as running, running.client() as client:
        aside = own_gallery.with_name("aside")
        own_gallery.rename(aside)
        until(lambda: client.get("/v1/galleries").json()[0]["problem"] is not None)
        broken = client.get("/v1/galleries/own/images/1/thumbnail")
        whole = client.post("/v1/galleries/whole/searches", json={"text": "effusion"})
        alive = client.get("/healthz")
        aside.rename(own_gallery)
        until(lambda: client.get("/v1/galleries").json()[0]["problem"] is None)
        mended = client.post("/v1/galleries/own/searches", json={"text": "effusion", "top_k": 2})
    assert broken.status_code == 503
    assert str(own_gallery) not in broken.text
    assert (whole.status_code, alive.status_code) == (200, 200)
    assert len(mended.json()["hits"]) == 2


def test_a_gallery_that_is_written_to_is_read_all_the_same(own_gallery: Path, tmp_path: Path) -> None:
    from medsiglip_search.gallery import Gallery

    with serving({"own": own_gallery}, tmp_path / "state") as running, running.client() as client:
        with Gallery.open(own_gallery).writer():
            found = client.post("/v1/galleries/own/searches", json={"text": "effusion"})
            deleted = client.delete("/v1/galleries/own/images/1")
        assert found.status_code == 200
        assert deleted.status_code == 409
        assert deleted.json()["type"].endswith("gallery-locked")
        assert client.delete("/v1/galleries/own/images/1").status_code in (200, 204)


def test_nothing_is_answered_that_the_audit_cannot_note(demo_gallery: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with serving({"demo": demo_gallery}, state) as running, running.client() as client:
        assert client.get("/v1/galleries/demo/images/1/thumbnail").status_code == 200
        log, aside = state / "audit.jsonl", state / "aside"
        log.rename(aside)
        log.mkdir()
        refused = [
            client.get("/v1/galleries/demo/images/1/thumbnail"),
            client.get("/v1/galleries/demo/images/1/picture"),
            client.post("/v1/galleries/demo/searches", json={"text": "effusion"}),
        ]
        alive = client.get("/healthz")
        log.rmdir()
        aside.rename(log)
        again = client.get("/v1/galleries/demo/images/1/thumbnail")
    assert {answer.status_code for answer in refused} == {503}
    assert {answer.json()["type"].rpartition(":")[2] for answer in refused} == {"audit-unavailable"}
    assert not any(answer.content.startswith(b"\xff\xd8") for answer in refused)
    assert alive.status_code == again.status_code == 200
    assert verify(state).problems == ()


def test_on_a_full_disk_nothing_is_answered_until_there_is_room(demo_gallery: Path, tmp_path: Path) -> None:
    place = "/v1/galleries/demo/images/1/thumbnail"
    with serving({"demo": demo_gallery}, tmp_path / "state") as running, running.client() as client:
        assert client.get(place).status_code == 200
        with largest_file((tmp_path / "state" / "audit.jsonl").stat().st_size):
            refused = client.get(place)
            alive = client.get("/healthz")
        again = client.get(place)
    assert (refused.status_code, alive.status_code, again.status_code) == (503, 200, 200)
    assert refused.json()["type"].endswith(":audit-unavailable")
    assert verify(tmp_path / "state").problems == ()


def test_what_has_begun_is_answered_when_the_service_is_told_to_end(
    demo_gallery: Path, tmp_path: Path
) -> None:
    with service_process(tmp_path / "run", tmp_path / "state", [f"demo={demo_gallery}"]) as running:
        answers: list[int] = []
        begun = threading.Event()

        def upload() -> None:
            picture = saved(gradient(5), "PNG")
            boundary = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'

            def pieces():  # type: ignore[no-untyped-def]
                yield boundary + picture[:10]
                begun.set()
                until(lambda: running.child.poll() is None and stopping.is_set())
                yield picture[10:] + b"\r\n--b--\r\n"

            with running.client() as client:
                kind = {"content-type": "multipart/form-data; boundary=b"}
                answers.append(client.post("/v1/uploads", content=pieces(), headers=kind).status_code)

        stopping = threading.Event()
        sender = threading.Thread(target=upload)
        sender.start()
        assert begun.wait(LONG_S)
        running.child.send_signal(signal.SIGTERM)
        stopping.set()
        sender.join(LONG_S)
        assert running.child.wait(LONG_S) == 0, running.log
    assert answers == [201]
