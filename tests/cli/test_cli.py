"""The commands as a user meets them: what they print, where, and with which exit code."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
import torch
from checkpoints import make_checkpoint, ship
from command_line import NOTICES, SCRIPT, Run, gradient, one_error
from PIL import Image

from medsiglip_search import __version__, terminal
from medsiglip_search.commands.options import DECODE_TIMEOUT_S
from medsiglip_search.encoders.siglip.text import TextTower
from medsiglip_search.gallery import Gallery
from medsiglip_search.images import pixel_digest
from medsiglip_search.images.guard import Limits

# index


def test_index_ends_with_its_figures_and_the_next_command(
    run: Run, tmp_path: Path, archive: Path, checkpoint: Path
) -> None:
    first = run("index", tmp_path / "my gallery", archive, "--encoder", checkpoint)
    assert first.code == 0
    assert first.out[0].startswith("embedded  5 images in ")
    assert first.out[1:] == [
        "rejected  1: not_an_image 1",
        f"Why:  medsiglip-search rejected '{tmp_path}/my gallery'",
        f"Next: medsiglip-search search '{tmp_path}/my gallery' 'left pleural effusion'",
    ]
    second = run("index", tmp_path / "my gallery", archive)
    assert second.code == 0
    assert second.out[:3] == ["embedded   0 images", "unchanged  5 files", "rejected   1: not_an_image 1"]


def test_index_as_json(run: Run, tmp_path: Path, archive: Path, table: Path, checkpoint: Path) -> None:
    arguments = ("index", tmp_path / "gallery", archive, "--metadata", table, "--batch-size", 2, "--json")
    (first,) = run(*arguments, "--encoder", checkpoint).json
    assert first["images_per_second"] == pytest.approx(5 / first.pop("seconds"))
    del first["images_per_second"]
    rejected = {"not_an_image": 1}
    assert first == {"embedded": 5, "unchanged": 0, "replaced": 0, "removed": 0, "rejected": rejected}
    (second,) = run(*arguments).json
    assert (second["embedded"], second["unchanged"]) == (0, 5)


def test_strict_tells_by_the_exit_code_that_a_file_stands_rejected(
    run: Run, gallery: Path, archive: Path, table: Path
) -> None:
    assert run("index", gallery, archive, "--metadata", table).code == 0
    assert run("index", gallery, archive, "--metadata", table, "--strict").code == 3


def test_frames_per_instance_limits_the_frames(run: Run, tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "archive").mkdir()
    pages = [gradient(20 * number) for number in range(7)]
    pages[0].save(tmp_path / "archive" / "pages.tif", save_all=True, append_images=pages[1:])
    arguments = ("index", tmp_path / "gallery", tmp_path / "archive", "--encoder", checkpoint, "--json")
    assert run(*arguments, "--frames-per-instance", 3).json[0]["embedded"] == 3


def test_the_environment_names_the_encoder_of_a_new_gallery(
    run: Run, tmp_path: Path, archive: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSIGLIP_ENCODER", str(checkpoint))
    monkeypatch.setenv("MEDSIGLIP_DEVICE", "cpu")
    assert run("index", tmp_path / "gallery", archive).code == 0
    assert Gallery.open(tmp_path / "gallery").meta.encoder == str(checkpoint)


def test_the_demo_encoder_is_the_default_and_says_what_it_knows(
    run: Run, tmp_path: Path, archive: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(monkeypatch, checkpoint)
    gallery = tmp_path / "gallery"
    for arguments in (["index", gallery, archive], ["search", gallery, "effusion"], ["inspect", gallery]):
        outcome = run(*arguments)
        assert outcome.code == 0
        assert [line for line in outcome.err if "knows synthetic pictures only" in line] != []
    assert Gallery.open(gallery).meta.encoder == "demo"


# search, inspect, rejected


def test_search_prints_hits_as_json(run: Run, gallery: Path, archive: Path) -> None:
    hits = run("search", gallery, "chest radiograph", "--top-k", 3, "--json").json
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    names = ["rank", "score", "relevance", "image_id", "uri", "frame", "archive", "modality", "body_part"]
    names += ["year", "patient", "study", "series", "instance", "count", "report", "age"]
    assert set(names) <= set(hits[0])
    assert {hit["archive"] for hit in hits} == {str(archive)}


def test_search_by_image_finds_the_image_itself_first(run: Run, gallery: Path, archive: Path) -> None:
    for name in ("2.png", "ct.dcm"):
        hits = run("search", gallery, "--image", archive / name, "--json").json
        assert len(hits) == 5
        assert hits[0]["uri"] == name
        assert hits[0]["score"] == pytest.approx(1, abs=1e-3)


def test_search_by_stored_image_leaves_it_out(run: Run, gallery: Path, archive: Path) -> None:
    first = run("search", gallery, "--image", archive / "2.png", "--json").json[0]
    others = run("search", gallery, "--like", first["image_id"], "--json").json
    assert len(others) == 4
    assert "2.png" not in [hit["uri"] for hit in others]


def test_search_prints_a_table_for_people(run: Run, gallery: Path, archive: Path) -> None:
    outcome = run("search", gallery, "--image", archive / "ct.dcm", "--top-k", 1)
    header, line = outcome.out
    assert header.split() == ["rank", "score", "relevance", "image_id", "image", "what", "report"]
    assert line.split()[:2] == ["1", "1.000"]
    assert "ct.dcm" in line.split()
    assert "CT" in line.split()
    assert outcome.err == []


def test_a_filter_that_fits_nothing_is_no_error(run: Run, gallery: Path) -> None:
    outcome = run("search", gallery, "effusion", "--where", "age > 100")
    assert (outcome.code, outcome.out) == (0, ["no image fits"])
    assert run("search", gallery, "effusion", "--where", "age > 100", "--json").out == []
    assert [hit["age"] for hit in run("search", gallery, "x", "--where", "age > 60", "--json").json] == [61]


def test_inspect_tells_what_the_gallery_holds(run: Run, gallery: Path, checkpoint: Path) -> None:
    (contents,) = run("inspect", gallery, "--json").json
    assert contents["images"] == 5
    assert contents["rejected"] == {"not_an_image": 1}
    assert contents["encoder"] == str(checkpoint)
    assert contents["dim"] == 32
    assert contents["spec"] == {
        "size": 28,
        "fit": "pad",
        "resample": "tf_bilinear",
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "rendering": {
            "ct": [
                {"low": low, "high": high, "curve": "linear"}
                for low, high in ((-1225, 1025), (-135, 215), (0, 80))
            ],
            "percentiles": [0.5, 99.5],
        },
    }
    assert contents["identifiers"] == "pseudonym"
    assert contents["version"] == Gallery.open(gallery).version
    assert contents["size_bytes"] == sum(path.stat().st_size for path in gallery.rglob("*") if path.is_file())
    assert {"modality", "report", "age"} <= set(contents["columns"])
    assert run("inspect", gallery).out[:2] == ["images       5", "rejected     1: not_an_image 1"]


def test_a_gallery_keeps_to_how_its_pictures_were_made(
    run: Run, tmp_path: Path, archive: Path, checkpoint: Path
) -> None:
    gallery = tmp_path / "g"
    choices = ["--ct-window", "lung", "--fit", "stretch", "--resample", "bicubic", "--identifiers", "keep"]
    index = ["index", gallery, archive, "--encoder", checkpoint]
    assert run(*index, *choices).code == 0
    (contents,) = run("inspect", gallery, "--json").json
    assert contents["spec"]["fit"] == "stretch"
    assert contents["spec"]["resample"] == "bicubic"
    assert contents["spec"]["rendering"]["ct"] == [{"low": -1350, "high": 150, "curve": "linear"}] * 3
    assert "CT windows   -1350 to 150 HU" in run("inspect", gallery).out
    # Without a choice the gallery's own stands, and a query is made the same way.
    assert run(*index).code == 0
    (hit,) = run("search", gallery, "--image", archive / "ct.dcm", "--top-k", 1, "--json").json
    assert (hit["uri"], hit["patient"]) == ("ct.dcm", "1CT1")
    assert hit["score"] == pytest.approx(1, abs=1e-3)
    # Another choice is refused.
    for other in (["--ct-window", "-600,1400"], ["--fit", "pad"], ["--identifiers", "drop"]):
        outcome = run(*index, *other)
        assert outcome.code == 6
        assert "new gallery" in one_error(outcome)


def test_a_window_that_is_none_is_refused_before_anything_is_made(
    run: Run, tmp_path: Path, archive: Path
) -> None:
    outcome = run("index", tmp_path / "g", archive, "--ct-window", "lungs")
    assert outcome.code == 2
    assert "'lungs': no window; give CENTRE,WIDTH" in one_error(outcome)
    assert not (tmp_path / "g").exists()


def test_the_commands_have_the_time_limit_of_the_guard() -> None:
    # Written twice, because importing the guard would make the command's help slow.
    assert Limits().timeout_s == DECODE_TIMEOUT_S


def test_identifiers_can_be_left_out(run: Run, tmp_path: Path, archive: Path, checkpoint: Path) -> None:
    gallery = tmp_path / "g"
    assert run("index", gallery, archive, "--encoder", checkpoint, "--identifiers", "drop").code == 0
    hits = run("search", gallery, "--image", archive / "ct.dcm", "--json").json
    assert {hit[name] for hit in hits for name in ("patient", "study", "series", "instance")} == {None}


# render


@pytest.fixture(scope="session")
def ct(archive: Path) -> Path:
    return archive / "ct.dcm"


def test_render_writes_the_picture_and_tells_what_is_known(run: Run, tmp_path: Path, ct: Path) -> None:
    outcome = run("render", ct, "--out", tmp_path / "a.png", "--json")
    assert (outcome.code, outcome.err) == (0, [])
    (about,) = outcome.json
    picture = Image.open(tmp_path / "a.png")
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (128, 128))
    assert about["source_digest"] == hashlib.sha256(ct.read_bytes()).hexdigest()
    assert about["pixel_digest"] == pixel_digest(np.asarray(picture))
    names = ("rows", "columns", "frame", "frame_count", "modality", "year", "flags")
    assert [about[name] for name in names] == [128, 128, 0, 1, "CT", 2004, []]
    assert "1CT1" not in outcome.out[0]
    assert run("render", ct, "--json", "--identifiers", "keep").json[0]["patient"] == "1CT1"
    assert "modality       CT" in run("render", ct, "--out", tmp_path / "a.png").out


def test_render_shows_the_window_that_is_asked_for(run: Run, tmp_path: Path, ct: Path) -> None:
    hu = pydicom.dcmread(ct).pixel_array - 1024
    for window, low, high in (("lung", -1350, 150), ("-600,1500", -1350, 150), ("100.5,1", 100, 101)):
        assert run("render", ct, "--out", tmp_path / "a.png", "--window", window).code == 0
        levels = np.clip((hu - low) * (255 / (high - low)), 0, 255)
        np.testing.assert_allclose(np.asarray(Image.open(tmp_path / "a.png"))[..., 1], levels, atol=0.51)


def test_render_shows_one_frame_and_the_middle_one_by_default(run: Run, tmp_path: Path) -> None:
    frames = [gradient(number) for number in (0, 90, 180)]
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:])
    for options, frame in (([], 1), (["--frame", 2], 2)):
        out = tmp_path / "a.png"
        (about,) = run("render", tmp_path / "a.tiff", "--out", out, "--json", *options).json
        assert (about["frame"], about["frame_count"]) == (frame, 3)
        np.testing.assert_array_equal(np.asarray(Image.open(out)), np.asarray(frames[frame]))


def test_render_shows_what_the_encoder_gets(run: Run, tmp_path: Path, gallery: Path) -> None:
    gradient(0).save(tmp_path / "a.png")
    out = tmp_path / "b.png"
    assert run("render", tmp_path / "a.png", "--out", out, "--model-input").code == 0
    padded = np.asarray(Image.open(out))
    assert padded.shape == (448, 448, 3)
    assert not padded[:50].any()  # 40 x 30: an eighth of the square is black above, and below
    assert padded[60:380].any(axis=(1, 2)).all()
    assert run("render", tmp_path / "a.png", "--out", out, "--model-input", "--gallery", gallery).code == 0
    assert Image.open(out).size == (28, 28)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["notes.txt", "--out", "o.png"], 1, "notes.txt: not_an_image: This is neither DICOM, PNG"),
        (
            ["absent.dcm", "--out", "o.png"],
            1,
            "absent.dcm: unreadable: The file cannot be read: No such file",
        ),
        (["ct.dcm"], 2, "nowhere to write to; give --out PNG"),
        (["ct.dcm", "--out", "ct.dcm"], 2, "ct.dcm: is the file itself"),
        (["ct.dcm", "--out", "o.png", "--frame", "1"], 2, "frame 1 of 1: give 0 to 0"),
        (["ct.dcm", "--out", "o.png", "--window", "lungs"], 2, "'lungs': no window; give CENTRE,WIDTH"),
        (["ct.dcm", "--out", "o.png", "--window", "40,0"], 2, "'40,0': no window"),
        (["ct.dcm", "--out", "o.png", "--window", "nan,5"], 2, "'nan,5': no window"),
        (["0.png", "--out", "o.png", "--window", "40,80"], 2, "no values to window"),
        (["ct.dcm", "--out", "o.png", "--gallery", "."], 2, "a folder without a gallery"),
        (["ct.dcm", "--out", "absent/o.png"], 1, "No such file or directory"),
    ],
)
def test_render_says_what_is_wrong(
    run: Run,
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    shutil.copytree(archive, tmp_path / "a")
    monkeypatch.chdir(tmp_path / "a")
    outcome = run("render", *arguments)
    assert outcome.code == code
    assert message in one_error(outcome)
    assert not Path("o.png").exists()


def test_render_tells_programs_why_a_file_is_rejected(run: Run, archive: Path) -> None:
    outcome = run("render", archive / "notes.txt", "--json")
    assert outcome.code == 1
    (rejected,) = outcome.json
    assert (rejected["uri"], rejected["reason"]) == (str(archive / "notes.txt"), "not_an_image")


def test_named_windows_are_for_ct(run: Run, tmp_path: Path) -> None:
    mr = pydicom.data.get_testdata_file("MR_small.dcm")
    outcome = run("render", mr, "--out", tmp_path / "a.png", "--window", "lung")
    assert outcome.code == 2
    assert "only CT has" in one_error(outcome)
    assert run("render", mr, "--out", tmp_path / "a.png", "--window", "600,1200").code == 0


def test_a_picture_that_takes_too_long_is_told(run: Run, archive: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.webp", lossless=True, quality=0, method=0)
    outcome = run("render", tmp_path / "a.webp", "--json", "--decode-timeout", "0.1")
    assert outcome.code == 1
    assert outcome.json[0]["reason"] == "decode_timeout"


def test_rejected_tells_each_file_and_why(run: Run, gallery: Path) -> None:
    (one,) = run("rejected", gallery, "--json").json
    message = one.pop("message")
    assert one == {"uri": "notes.txt", "frame": None, "reason": "not_an_image"}
    assert run("rejected", gallery).out == [
        f"reason        file       {'why':{len(message)}}".rstrip(),
        f"not_an_image  notes.txt  {message}",
    ]


def test_a_file_name_cannot_command_the_terminal(
    run: Run, tmp_path: Path, checkpoint: Path, archive: Path
) -> None:
    (tmp_path / "archive").mkdir()
    shutil.copy(archive / "0.png", tmp_path / "archive" / "\x1b[31m[bold]\n.png")
    (tmp_path / "archive" / "\x1b[2J.txt").touch()
    gallery = tmp_path / "gallery"
    run("index", gallery, tmp_path / "archive", "--encoder", checkpoint)
    assert "\\x1b[31m[bold]\\n.png" in run("search", gallery, "x").out[1]
    assert "\\x1b[2J.txt" in run("rejected", gallery).out[1]
    assert "\x1b" not in "".join(run("search", gallery, "x", "--json").out)
    assert run("search", gallery, "x", "--json").json[0]["uri"] == "\x1b[31m[bold]\n.png"


# what goes wrong


def test_bad_input_is_one_line_that_says_what_to_do(
    run: Run, tmp_path: Path, gallery: Path, archive: Path, checkpoint: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.doc").touch()
    (tmp_path / "bad.csv").write_text("image,report\n0.png,x\n")
    new, absent = tmp_path / "new", tmp_path / "absent"
    encoder = ("--encoder", checkpoint)
    cases: list[tuple[Sequence[object], int, str]] = [
        (["index", new], 2, f"no archive given; try medsiglip-search index {new} FOLDER_OF_IMAGES"),
        (
            ["index", new, absent],
            2,
            f"{absent}: no such archive; give a folder of images, ",
        ),
        (["index", new, ""], 2, "no archive given; name a folder of images"),
        (["index", new, archive / "0.png"], 2, "neither a folder nor a tar or zip file"),
        (
            ["index", new, tmp_path / "empty"],
            2,
            "holds no file to index; give the folder that holds the images",
        ),
        (["index", tmp_path / "file", archive, *encoder], 2, f"{tmp_path}/file: a file stands there"),
        (
            ["index", tmp_path / "other", archive, *encoder],
            2,
            "holds other files and no gallery. Name a new folder",
        ),
        (["index", new, archive, "--metadata", absent], 2, f"{absent}: cannot be read: no such file"),
        (["index", new, archive, "--metadata", tmp_path / "bad.csv"], 2, "no column named path"),
        (["index", new, archive, "--encoder", "clip"], 1, "'clip': no such encoder; use demo, medsiglip"),
        (["index", new, archive, "--encoder", ""], 1, "'': no such encoder"),
        (["index", new, archive, "--batch-size", "0"], 2, "(see medsiglip-search index --help)"),
        (["index"], 2, "Missing argument 'GALLERY'. (see medsiglip-search index --help)"),
        (["search", absent, "x"], 2, str(absent)),
        (["search", archive, "x"], 2, str(archive)),
        (["search", gallery, "  "], 2, "the text is empty; say what to look for"),
        (["search", gallery], 2, "nothing to look for; give a text, an image, or the id of a stored image"),
        (["search", gallery, "--image", archive / "notes.txt"], 2, "query image: not_an_image"),
        (["search", gallery, "--image", absent], 2, "query image: unreadable"),
        (["search", gallery, "--like", "999"], 2, "no image 999"),
        (["search", gallery, "x", "--where", "nonsense = 1"], 2, "nonsense"),
        (["search", gallery, "x", "--top-k", "0"], 2, "(see medsiglip-search search --help)"),
        (["search", gallery, "x", "--device", "abacus"], 1, "abacus"),
        (["inspect", absent], 2, str(absent)),
        (["rejected", absent], 2, str(absent)),
        (["find", gallery], 2, "No such command 'find'."),
        (["search", gallery, "x", "--colour"], 2, "No such option: --colour"),
    ]
    for arguments, code, message in cases:
        outcome = run(*arguments)
        assert outcome.code == code, (arguments, outcome)
        assert message in one_error(outcome), arguments
    assert not new.exists()


def test_a_gallery_of_another_encoder_is_refused_with_6(
    run: Run, tmp_path: Path, gallery: Path, archive: Path
) -> None:
    other = make_checkpoint(tmp_path / "other", seed=1)
    for arguments in (["index", gallery, archive], ["search", gallery, "x"]):
        outcome = run(*arguments, "--encoder", other)
        assert outcome.code == 6
        assert "Pass --encoder or build a new gallery" in one_error(outcome)


def test_a_locked_gallery_is_refused_with_5(run: Run, gallery: Path, archive: Path) -> None:
    with Gallery.open(gallery).writer():
        outcome = run("index", gallery, archive)
    assert outcome.code == 5
    assert str(os.getpid()) in one_error(outcome)


def test_a_damaged_gallery_is_refused_with_4(run: Run, tmp_path: Path, gallery: Path, archive: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(gallery, damaged)
    (damaged / "gallery.json").write_text("{")
    for arguments in (["index", damaged, archive], ["search", damaged, "x"], ["inspect", damaged]):
        outcome = run(*arguments)
        assert outcome.code == 4
        assert str(damaged) in one_error(outcome)


def test_a_full_disk_or_a_folder_without_permission_is_one_line(
    run: Run, tmp_path: Path, archive: Path, checkpoint: Path
) -> None:
    outcome = run("index", "/proc/gallery", archive, "--encoder", checkpoint)
    assert outcome.code == 1
    assert "/proc/gallery" in one_error(outcome)


def test_want_of_memory_is_one_line(run: Run, gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def starve(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TextTower, "pooled", starve)
    outcome = run("search", gallery, "effusion")
    assert outcome.code == 1
    told = one_error(outcome)
    assert "not the memory for so many texts; close what else uses it, or pass --device cpu" in told


def test_help_and_version(run: Run) -> None:
    for arguments, code in ((["--help"], 0), ([], 2)):
        outcome = run(*arguments)
        assert outcome.code == code
        commands = [line.split()[0] for line in outcome.out if line.startswith("  ") and line.split()]
        assert {"demo", "index", "search", "inspect", "rejected"} <= set(commands)
    assert run("--version").out == [__version__]


# progress


def test_progress_is_a_plain_line_now_and_then_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal.progress("Indexing") as show:
        show(1, 3, "1 embedded")
    monkeypatch.setattr(terminal, "PLAIN_PROGRESS_SECONDS", 0.0)
    with terminal.progress("Indexing") as show:
        show(2, 3, "2 embedded")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Indexing: 2 of 3, 2 embedded\n"


# the installed command, in processes of its own


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no cache"))


@pytest.mark.usefixtures("offline")
def test_a_model_that_is_not_at_hand_is_one_line(tmp_path: Path, archive: Path) -> None:
    command = [SCRIPT, "index", tmp_path / "gallery", archive, "--encoder", "medsiglip"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("error: google/medsiglip-448: ")
    assert run.stderr.count("\n") == 1


@pytest.mark.usefixtures("offline")
def test_nothing_but_results_and_notices_of_this_project_is_printed(tmp_path: Path, checkpoint: Path) -> None:
    folder = Path(pydicom.data.get_testdata_file("CT_small.dcm")).parent
    command = [SCRIPT, "index", tmp_path / "gallery", folder, "--encoder", checkpoint, "--json"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0
    assert all("total" in json.loads(line) for line in run.stderr.splitlines())  # progress
    (report,) = map(json.loads, run.stdout.splitlines())
    assert report["embedded"] == len(Gallery.open(tmp_path / "gallery"))


@pytest.fixture
def long_archive(tmp_path: Path) -> Iterator[Path]:
    """An archive that takes seconds, so that a run over it can be met in the middle."""
    folder = tmp_path / "archive"
    folder.mkdir()
    gradient(0).save(folder / "0.png")
    for number in range(1, 2000):
        os.link(folder / "0.png", folder / f"{number}.png")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def heeding_ctrl_c() -> Iterator[None]:
    """Not ignore Ctrl-C, as the jobs in a shell's background do and hand down to the processes they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("offline", "heeding_ctrl_c")
@pytest.mark.parametrize(
    ("blow", "in_background"),
    [
        (signal.SIGINT, False),
        (signal.SIGTERM, False),
        (signal.SIGTERM, True),
        (signal.SIGKILL, False),
    ],
)
def test_a_run_that_is_stopped_in_the_middle_is_finished_by_the_next(
    run: Run, tmp_path: Path, long_archive: Path, checkpoint: Path, blow: signal.Signals, in_background: bool
) -> None:
    gallery = tmp_path / "gallery"
    if in_background:  # of a shell script, which hands down that Ctrl-C is ignored
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    first = subprocess.Popen(
        [SCRIPT, "index", gallery, long_archive, "--encoder", checkpoint, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while first.poll() is None and not (Gallery.exists(gallery) and len(Gallery.open(gallery))):
        time.sleep(0.05)
    first.send_signal(blow)
    out, err = first.communicate()

    stored = len(Gallery.open(gallery))
    assert 0 < stored < 2000
    if blow != signal.SIGKILL:
        assert first.returncode == 130
        assert json.loads(out)["embedded"] == stored
        assert err.splitlines()[-1].endswith("To go on, run the same command again.")
        assert "Traceback" not in err
    (report,) = run("index", gallery, long_archive, "--json").json
    assert report["embedded"] == 2000 - stored
    assert report["unchanged"] == stored
    opened = Gallery.open(gallery)
    assert {one.uri for one in opened.instances(opened.select(None))} == {f"{n}.png" for n in range(2000)}
    assert len(opened) == 2000


@pytest.mark.usefixtures("offline", "heeding_ctrl_c")
def test_ctrl_c_while_starting_is_one_line(tmp_path: Path, archive: Path) -> None:
    command = [SCRIPT, "index", tmp_path / "gallery", archive, "--encoder", "demo"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        assert program.stderr.readline().startswith(NOTICES)  # from here on the encoder is loaded
        program.send_signal(signal.SIGINT)
        program.send_signal(signal.SIGINT)
        err = program.stderr.read()
    assert program.returncode == 130
    assert err == "Interrupted; what was stored is kept. To go on, run the same command again.\n"


def test_a_hit_shows_what_a_report_begins_with() -> None:
    hit = dict.fromkeys(("modality", "body_part", "laterality", "view_position", "year"))
    hit |= {"rank": 1, "score": 0.5, "relevance": 2.0, "image_id": 7, "uri": "a.dcm", "frame": 3}
    assert terminal.hit_cells(hit | {"report": "x" * 61})[-1] == "x" * 57 + "..."
    assert terminal.hit_cells(hit | {"report": "Normal."})[-2:] == ("", "Normal.")
    assert terminal.hit_cells(hit)[4:] == ("a.dcm frame 3", "", "")
