"""`explain` as it is typed, on a small synthetic archive: without a model, with the demo's, with servers."""

import io
import json
import os
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
from command_line import SCRIPT, Outcome, Run, one_error
from faulty_servers import Connection, refusing, saying, serving, unused_url, well
from PIL import Image

from medsiglip_search.cli import main

ASKED = "left pleural effusion"


@pytest.fixture
def archive(demo_archive: Path) -> Path:
    return demo_archive


@pytest.fixture
def gallery(demo_gallery: Path) -> Path:
    return demo_gallery


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("MEDSIGLIP_EXPLAINER", "MEDSIGLIP_EXPLAINER_KEY", "MEDSIGLIP_ENCODER", "MEDSIGLIP_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_command(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in ("explain", *arguments)])
        captured = capsys.readouterr()
        return Outcome(int(exit_.value.code or 0), captured.out.splitlines(), captured.err.splitlines())

    return run_command


def chest_films(archive: Path) -> list[Path]:
    return sorted(archive.rglob("IM*.dcm"))


def test_without_a_model_the_evidence_is_told(run: Run, gallery: Path):
    done = run(gallery, ASKED, "--json")
    *hits, told = done.json
    assert (done.code, told["explainer"], told["state"]) == (0, "evidence", "done")
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert len(told["pictures"]) == 3
    assert told["pictures"][0]["matches"] == f"Shows {ASKED}."
    assert told["pictures"][0]["scores"]["pleural effusion"] > 0.9
    assert told["findings"][0]["finding"] == ASKED
    assert told["summary"] == told["evidence"]
    shown = run(gallery, ASKED).out
    assert shown[0].startswith("rank")
    assert "Evidence, without a language model" in shown
    assert any("not a medical device" in line for line in shown)


def test_the_demo_explainer_describes_streaming_and_is_checked(run: Run, gallery: Path):
    done = run(gallery, ASKED, "--explainer", "demo", "--top-k", 2, "--json")
    *_, told = done.json
    assert (done.code, told["state"], told["explainer"]) == (0, "done", "demo")
    assert told["revision"].startswith("local-")
    assert (told["prompt_version"], len(told["prompt_digest"])) == ("1", 64)
    assert told["tokens"] > 20
    assert all(one["parsed"] and one["description"] for one in told["pictures"])
    assert ("demo", "result") in [(one["kind"], one["subject"]) for one in told["warnings"]]
    pieces = [json.loads(line) for line in done.err if line.startswith('{"subject"')]
    assert list(dict.fromkeys(piece["subject"] for piece in pieces)) == ["hit 1", "hit 2"]
    said = "".join(piece["piece"] for piece in pieces if piece["subject"] == "hit 1")
    assert said == told["pictures"][0]["description"]
    assert len(pieces) > 20
    assert "findings" not in said


def test_what_was_answered_once_comes_from_the_cache(run: Run, gallery: Path, own_cache: Path):
    first = run(gallery, ASKED, "--explainer", "demo", "--top-k", 1, "--json").json[-1]
    assert len(list(own_cache.rglob("*.json"))) == 1
    [answer] = own_cache.rglob("*.json")
    answer.write_text(answer.read_text().replace("look normal", "look FINE"))
    again = run(gallery, ASKED, "--explainer", "demo", "--top-k", 1, "--json").json[-1]
    assert "look FINE" in again["pictures"][0]["description"]
    anew = run(gallery, ASKED, "--explainer", "demo", "--top-k", 1, "--json", "--no-cache").json[-1]
    assert anew["pictures"] == first["pictures"]


def test_a_query_picture_is_described_too(run: Run, gallery: Path, archive: Path):
    *_, told = run(
        gallery, "--image", chest_films(archive)[0], "--explainer", "demo", "--top-k", 1, "--json"
    ).json
    assert [one["subject"] for one in told["pictures"]] == ["query", "hit 1"]
    assert told["pictures"][0]["image_id"] is None
    assert told["pictures"][1]["matches"].startswith("Both show") or not told["pictures"][1]["findings"]


def test_a_second_opinion_asks_in_other_words(run: Run, gallery: Path, own_cache: Path):
    done = run(gallery, ASKED, "--explainer", "demo", "--top-k", 1, "--second-opinion", "--json")
    assert done.code == 0
    subjects = {json.loads(line)["subject"] for line in done.err if line.startswith('{"subject"')}
    assert subjects == {"hit 1", "hit 1, asked again"}
    assert len(list(own_cache.rglob("*.json"))) == 2


def test_pictures_of_a_packed_archive_are_described(run: Run, archive: Path, tmp_path: Path):
    packed = tmp_path / "films.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for path in chest_films(archive)[:4]:
            file.write(path, path.relative_to(archive).as_posix())
    gallery = tmp_path / "packed"
    with pytest.raises(SystemExit, match="0"):
        main(["index", str(gallery), str(packed)])
    *_, told = run(gallery, ASKED, "--explainer", "demo", "--top-k", 1, "--json").json
    assert told["pictures"][0]["description"]
    packed.unlink()
    done = run(gallery, ASKED, "--explainer", "demo", "--top-k", 1, "--json")
    assert ("unread", "hit 1") in [(one["kind"], one["subject"]) for one in done.json[-1]["warnings"]]


def test_heat_maps_are_written(run: Run, gallery: Path, tmp_path: Path):
    *_, told = run(gallery, ASKED, "--top-k", 1, "--heatmaps", tmp_path / "maps", "--json").json
    [written] = told["heatmaps"]
    with Image.open(io.BytesIO(Path(written["file"]).read_bytes())) as picture:
        x, y = written["hottest"]
        x0, y0, x1, y1 = written["box"]
        assert 0 <= x0 <= x < x1 <= picture.width
        assert 0 <= y0 <= y < y1 <= picture.height


def test_no_hits_are_said_so(run: Run, gallery: Path):
    for explainer in ("evidence", "demo"):
        done = run(gallery, ASKED, "--where", "modality = 'XX'", "--explainer", explainer, "--json")
        assert done.code == 0
        assert done.json[-1]["evidence"] == f'Nothing in the gallery answers "{ASKED}".'
        assert done.json[-1]["pictures"] == []


def test_a_server_describes_and_compares(run: Run, gallery: Path):
    described = '{"findings": [{"finding": "pleural effusion", "side": "right"}]}'

    def answer(connection: Connection) -> None:
        text = (
            f"A film with a right pleural effusion. {described}"
            if b"image_url" in connection.body
            else "Both."
        )
        event = json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]})
        saying(b"data: " + event.encode() + b"\n\n", b"data: [DONE]\n\n")(connection)

    with serving(answer, answer, answer) as server:
        done = run(gallery, ASKED, "--explainer", server.url, "--model", "m", "--top-k", 2, "--json")
    *_, told = done.json
    assert (done.code, told["state"], told["summary"]) == (0, "done", "Both.")
    assert "side" in {one["kind"] for one in told["warnings"]}


@pytest.mark.parametrize(
    "fault", [refusing("500 No"), refusing("429 Busy"), saying(b"<html>", kind="text/html")]
)
def test_with_a_broken_server_hits_and_evidence_still_come(run: Run, gallery: Path, fault):
    with serving(fault, fault, fault) as server:
        done = run(gallery, ASKED, "--explainer", server.url, "--model", "m", "--top-k", 1)
    assert done.code == 1
    assert done.out[0].startswith("rank")
    assert "Evidence, without a language model" in done.out
    assert any(line.startswith(f"error: {server.url}") for line in done.err)


def test_with_no_server_at_all_hits_and_evidence_still_come(run: Run, gallery: Path):
    done = run(gallery, ASKED, "--explainer", unused_url(), "--model", "m", "--json")
    *hits, told = done.json
    assert (done.code, told["state"], len(hits)) == (1, "failed", 3)
    assert "is it running?" in told["problem"]
    assert told["evidence"].startswith("The best of 3 hits")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--explainer", "https://models.example/v1"], "--allow-upload"),
        (["--explainer", "nobody"], "no such explainer"),
        (["--explainer", "/nonexistent/folder"], "no such explainer"),
    ],
)
def test_an_explainer_that_cannot_be_used_is_an_error_before_anything_is_searched(
    run: Run, gallery: Path, arguments, said
):
    done = run(gallery, ASKED, *arguments)
    assert done.code == 1
    assert said in one_error(done)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--heatmaps", "maps", "--like", "1"], "give TEXT"),
        ([ASKED, "--second-opinion"], "ask a language model"),
        ([ASKED, "--explainer", "demo", "--reader", "demo"], "--report"),
        ([ASKED, "--explainer", "demo", "--report", "--reader", "nobody"], "no such explainer"),
        ([ASKED, "--explainer", "demo", "--report", "--reader", "evidence"], "evidence is none"),
    ],
)
def test_options_that_would_come_to_nothing_are_errors(
    run: Run, gallery: Path, arguments: list[str], said: str
):
    assert said in one_error(run(gallery, *arguments))


def test_a_folder_that_is_no_checkpoint_is_an_error_beside_the_evidence(
    run: Run, gallery: Path, tmp_path: Path
):
    done = run(gallery, ASKED, "--explainer", tmp_path)
    assert done.code == 1
    assert "Evidence, without a language model" in done.out
    assert any("no config.json" in line for line in done.err)


def test_each_server_gets_its_own_key(run: Run, gallery: Path, tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"key-of-{name}")
        (tmp_path / name).chmod(0o600)
    with serving(well) as one, serving(well) as other:
        keys = ["--key-file", tmp_path / "a", "--reader-key-file", tmp_path / "b"]
        models = ["--explainer", one.url, "--model", "m", "--reader", other.url, "--reader-model", "r"]
        run(gallery, ASKED, "--report", "--top-k", 1, *models, *keys)
        with_key = ["--explainer", one.url, "--model", "m", "--reader", other.url, "--reader-model", "r"]
        first = len(other.requests)
        run(gallery, "right pneumothorax", "--report", "--top-k", 1, *with_key, "--key-file", tmp_path / "a")
    assert {"key-of-a" in each.head for each in one.requests} == {True}
    assert {"key-of-b" in each.head for each in other.requests[:first]} == {True}
    assert {"uthorization" in each.head for each in other.requests[first:]} == {False}


def test_a_query_picture_that_is_rejected_is_an_error(run: Run, gallery: Path, tmp_path: Path):
    (tmp_path / "notes.dcm").write_text("no picture")
    done = run(gallery, "--image", tmp_path / "notes.dcm", "--explainer", "demo")
    assert done.code == 2
    assert any("not_an_image" in line for line in done.err)


def test_labels_that_exclude_each_other_cannot_be_checked_against(run: Run, gallery: Path):
    done = run(gallery, ASKED, "--labels", "modality")
    assert done.code == 2
    assert any("chexpert-13" in line for line in done.err)


def test_ctrl_c_ends_it_with_what_was_said_until_then(gallery: Path, tmp_path: Path):
    with serving(lambda connection: (connection.start(), connection.hang())) as server:
        process = subprocess.Popen(
            [SCRIPT, "explain", gallery, ASKED, "--explainer", server.url, "--model", "m"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        )
        while not server.requests:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Evidence, without a language model" in out
    assert "Traceback" not in err


def test_the_address_is_asked_of_a_loopback_server_without_a_switch(run: Run, gallery: Path):
    with serving(well, well) as server:
        assert run(gallery, ASKED, "--explainer", server.url, "--model", "m", "--top-k", 1).code == 0
