import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from galleries import ARCHIVE, gallery_of, instance, meta, rejected

from medsiglip_search.errors import GalleryDamaged, GalleryError, GalleryNotFound
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_table import Table
from medsiglip_search.index import open_index
from medsiglip_search.records import Run
from medsiglip_search.verify import GONE_INDEXED, UNFINISHED, verify

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def gallery(tmp_path):
    """A gallery with a file of every kind: deletions, rejections, a run, an index."""
    gallery = gallery_of(tmp_path / "g", np.eye(8))
    with gallery.writer() as writer:
        writer.commit([instance("3.png", mtime_ns=2)], [b"jpeg"], np.eye(8)[:1], [rejected("bad")])
        run = Run(
            "2026-11-22T08:00:00Z", "2026-11-22T08:01:00Z", "done", (), 1, 0, 1, 0, {}, 1, 1, (2, 3), {}
        )
        writer.record_run(run)
    open_index(gallery)
    return gallery


def files_of(gallery):
    return sorted(path for path in gallery.path.rglob("*") if path.is_file() and path.stat().st_size)


def test_a_sound_gallery_has_no_problems(gallery):
    calls = []
    verification = verify(gallery.path, progress=lambda done, total: calls.append((done, total)))
    listed = (gallery.path / "files.sha256").read_text().splitlines()
    assert (verification.rows, verification.files) == (8, len(listed))
    assert (verification.problems, verification.notices) == ((), ())
    assert calls == [(done, len(listed)) for done in range(len(listed) + 1)]
    parts = {path.relative_to(gallery.path).parts[0] for path in files_of(gallery)}
    assert parts == {
        *("gallery.json", "secret.key", "files.sha256"),
        *("images.lance", "rejected.lance", "index", "runs"),
    }


def test_the_list_of_files_is_what_sha256sum_takes(gallery):
    subprocess.run(["sha256sum", "--check", "--strict", "files.sha256"], cwd=gallery.path, check=True)


def test_a_flipped_bit_in_any_file_is_noticed(gallery):
    for number, file in enumerate(files_of(gallery)):
        sound = file.read_bytes()
        place = number * 7919 % len(sound)
        file.write_bytes(sound[:place] + bytes([sound[place] ^ 1 << number % 8]) + sound[place + 1 :])
        problems = verify(gallery.path).problems
        assert problems, f"bit {number % 8} of byte {place} of {file}"
        assert all("\n" not in f"{one.place}{one.problem}{one.advice}" for one in problems)
        file.write_bytes(sound)
    assert verify(gallery.path).problems == ()


def test_a_cut_in_any_file_is_noticed(gallery):
    for file in files_of(gallery):
        sound = file.read_bytes()
        for length in (0, len(sound) // 2, len(sound) - 1):
            file.write_bytes(sound[:length])
            assert verify(gallery.path).problems, f"{file} of {length} bytes"
        file.write_bytes(sound)


def test_the_list_cut_at_the_end_of_any_line_is_noticed(gallery):
    file = gallery.path / "files.sha256"
    lines = file.read_bytes().splitlines(keepends=True)
    for count in range(len(lines)):
        file.write_bytes(b"".join(lines[:count]))
        name = lines[count].decode().split()[1]
        expected = name if count else "files.sha256"
        assert expected in {problem.place for problem in verify(gallery.path).problems}


@pytest.mark.parametrize(
    "name",
    [
        "images.lance/data/*.lance",
        "images.lance/_versions/18446744073709551614.manifest",  # the first version
        "rejected.lance/_transactions/*.txn",
        "runs/*.json",
        "secret.key",
    ],
)
def test_a_file_that_is_missing_is_named(gallery, name):
    file = next(gallery.path.glob(name))
    file.unlink()
    (problem,) = verify(gallery.path).problems
    assert (problem.place, problem.problem) == (str(file.relative_to(gallery.path)), "missing")


def test_a_file_that_is_no_part_of_the_gallery_is_named(gallery):
    (gallery.path / "images.lance" / "data" / "notes.txt").write_text("mine")
    (problem,) = verify(gallery.path).problems
    assert problem.place == "images.lance/data/notes.txt"
    assert "not listed" in problem.problem
    assert problem.advice.startswith("Restore")
    (gallery.path / "images.lance" / "data" / "notes.txt").rename(gallery.path / "notes.txt")
    (problem,) = verify(gallery.path).problems
    assert (problem.place, problem.advice) == ("notes.txt", "Remove it if nobody needs it")


def test_an_index_with_gone_rows_is_no_damage_and_a_damaged_one_says_that_it_is_derived(gallery):
    with gallery.writer() as writer:
        writer.delete("uri = '1.png'")
    verification = verify(gallery.path)
    assert verification.problems == ()
    assert verification.notices == (GONE_INDEXED,)
    (gallery.path / "index" / "rows.f16").write_bytes(b"other")
    (problem,) = verify(gallery.path).problems
    assert problem.place == "index/rows.f16"
    assert problem.advice.startswith("Delete index/")


def test_what_is_no_gallery_cannot_be_verified(tmp_path, gallery):
    with pytest.raises(GalleryNotFound):
        verify(tmp_path / "nothing")
    (gallery.path / "gallery.json").unlink()
    with pytest.raises(GalleryDamaged, match=r"gallery\.json is missing"):
        verify(gallery.path)


# Rows that no digest can find fault with


@pytest.fixture
def unchecked(monkeypatch):
    monkeypatch.setattr("medsiglip_search.gallery_writer._refuse_unusable", lambda *_: None)


def test_an_embedding_that_is_not_finite_or_not_unit_is_named(tmp_path, unchecked):
    gallery = Gallery.create(tmp_path / "g", meta())
    rows = [(1, 0), (np.nan, 0), (0.6, 0.8), (1.01, 0), (0, np.inf), (0.9985, 0), (0, 0)]
    with gallery.writer() as writer:
        names = [f"{number}.png" for number in range(len(rows))]
        writer.commit(list(map(instance, names)), [b""] * len(rows), np.array(rows), [])
    verification = verify(gallery.path)
    assert verification.rows == 7
    assert [(one.place, one.problem) for one in verification.problems] == [
        ("image 2 and 1 more", "has an embedding that is not finite"),
        ("image 4 and 1 more", "has an embedding whose norm is not 1"),
    ]


def test_a_row_of_the_same_file_and_frame_and_an_id_out_of_order_are_named(tmp_path):
    gallery = gallery_of(tmp_path / "g", np.eye(3))
    with gallery.writer():
        row = next(gallery.row_batches(gallery.stored_columns(), "image_id = 2"))
        gallery._advance(images=gallery._images.with_rows(row, []))
    assert [(one.place, one.problem) for one in verify(gallery.path).problems] == [
        ("image 2", "has an id out of order"),
        ("image 2", "has the file and frame of an earlier one"),
    ]


def test_an_empty_cell_where_none_may_be_is_named(tmp_path):
    gallery = gallery_of(tmp_path / "g", np.eye(3))
    with gallery.writer() as writer:
        batch = next(gallery.row_batches(gallery.stored_columns(), "image_id = 2"))
        (row,) = batch.to_pylist()
        empty = row | {"image_id": 4, "frame": 1, "source_digest": None, "embedding": None}
        rows = gallery.schema.empty_table().from_pylist([empty], schema=gallery.schema)
        gallery._advance(images=gallery._images.with_rows(rows, []))
        writer.commit([], [], np.empty((0, 3)), [rejected("x")])
    assert [(one.place, one.problem) for one in verify(gallery.path).problems] == [
        ("image 4", "has no source_digest"),
        ("image 4", "has no embedding"),
    ]


# Beside a writer, and after one that was killed


def run_python(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{Path(__file__).parent}"},
        stdout=subprocess.PIPE,
        text=True,
    )


BUSY_WRITER = """
import sys
from datetime import timedelta
import numpy as np
from galleries import instance, rejected
from medsiglip_search.gallery import Gallery

with Gallery.open(sys.argv[1]).writer() as writer:
    for number in range(100_000):
        names = [f"{number % 5}-{row}" for row in range(8)]
        writer.commit([instance(name) for name in names], [b"jpeg"] * 8, np.eye(8), [rejected(f"{number}")])
        if number % 3 == 0:
            writer.compact(timedelta(0))
        if number % 7 == 0:
            writer.delete("uri LIKE '1-%'")
            writer.purge()
        print(number, flush=True)
"""


def test_a_writer_at_work_is_no_damage(gallery):
    writer = run_python(BUSY_WRITER, gallery.path)
    try:
        writer.stdout.readline()
        for _ in range(30):
            verification = verify(gallery.path)
            assert verification.problems == ()
            assert set(verification.notices) <= {UNFINISHED, GONE_INDEXED}
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.communicate()


@pytest.mark.parametrize("number", [0, 2, 5])
def test_a_killed_writer_is_no_damage_and_the_next_one_settles_it(gallery, number):
    writer = run_python(BUSY_WRITER, gallery.path)
    for _ in range(number + 1):
        writer.stdout.readline()
    writer.kill()
    writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    assert verify(gallery.path).problems == ()
    with gallery.writer():
        pass
    verification = verify(gallery.path)
    assert verification.problems == ()
    assert UNFINISHED not in verification.notices
    names = {path.name for path in files_of(gallery)}
    assert not any(name.startswith(".tmp") or name.endswith(".unfinished") for name in names)


def test_a_kill_between_the_commit_and_its_note_is_told_apart_from_damage(gallery):
    kill_before_the_note = """
import os, signal, sys
import numpy as np
from galleries import instance
from medsiglip_search import checksums
from medsiglip_search.gallery import Gallery

checksums.append_to_list = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with Gallery.open(sys.argv[1]).writer() as writer:
    writer.commit([instance("new")], [b""], np.eye(8)[:1], [])
"""
    assert run_python(kill_before_the_note, gallery.path).wait() == -signal.SIGKILL
    verification = verify(gallery.path)
    assert (verification.rows, verification.problems) == (9, ())
    assert UNFINISHED in verification.notices
    # The same files, unlisted for no reason.
    (gallery.path / "writer.lock").write_bytes(b"")
    assert {one.problem for one in verify(gallery.path).problems} == {"not listed in files.sha256"}


def test_a_torn_last_line_is_mended_by_the_next_writer(gallery):
    file = gallery.path / "files.sha256"
    sound = file.read_bytes()
    file.write_bytes(sound[:-20])
    (gallery.path / "writer.lock").write_bytes(b"99999\n")
    assert verify(gallery.path).problems == ()
    with gallery.writer():
        pass
    assert sorted(file.read_bytes().splitlines()) == sorted(sound.splitlines())


def test_a_damaged_list_stops_the_next_writer(gallery):
    file = gallery.path / "files.sha256"
    file.write_bytes(file.read_bytes().replace(b"\n", b" ", 1))
    with pytest.raises(GalleryDamaged, match=r"files\.sha256: line 1 is none"), gallery.writer():
        pass


def lose_list(gallery):
    (gallery.path / "files.sha256").unlink()


def empty_list(gallery):
    (gallery.path / "files.sha256").write_bytes(b"")


def change_line_ends(gallery):
    file = gallery.path / "files.sha256"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))


def unlist(*parts):
    """Return what takes the lines out of the list that have one of these parts."""

    def damage(gallery):
        file = gallery.path / "files.sha256"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if not any(part in line for part in parts)))

    return damage


def take_back(gallery):
    """Take back the list that the gallery had when it was made; it has come further since."""
    for _ in range(3):
        with gallery.writer() as writer:
            writer.touch({(ARCHIVE, "1.png"): (gallery.version, 1)})
    file = gallery.path / "files.sha256"
    lines = file.read_text().splitlines(keepends=True)
    new = [f"{2**64 - 1 - version}.manifest" for version in range(3, gallery.version + 1)]
    file.write_text("".join(line for line in lines if not any(name in line for name in new)))


def lose(name):
    return lambda gallery: next(gallery.path.glob(name)).unlink()


def lose_newest(gallery):
    (gallery.path / "images.lance" / "_versions" / f"{2**64 - 1 - gallery.version}.manifest").unlink()


@pytest.mark.parametrize("lock", [b"", b"99999\n"], ids=["at rest", "killed"])
def test_a_lost_report_of_a_run_is_told_and_stops_no_writer(gallery, lock, caplog):
    lose("runs/*.json")(gallery)
    (gallery.path / "writer.lock").write_bytes(lock)
    assert [one.problem for one in verify(gallery.path).problems] == ["missing"]
    with gallery.writer():
        assert "missing; it was but the report of a run" in caplog.text
    assert verify(gallery.path).problems == ()


@pytest.mark.parametrize("lock", [b"", b"99999\n"], ids=["at rest", "killed"])
@pytest.mark.parametrize(
    ("damage", "place", "problem"),
    [
        (lose_list, "files.sha256", "missing"),
        (empty_list, "files.sha256", "empty"),
        (change_line_ends, "files.sha256", "its line ends were changed"),
        (unlist("images.lance/data/"), "images.lance/data/*", "not listed in files.sha256"),
        (unlist("images.lance/_versions/"), "images.lance/_versions/*", "not listed in files.sha256"),
        (unlist("18446744073709551614"), "*/_versions/18446744073709551614*", "not listed in files.sha256"),
        (unlist("gallery.json"), "gallery.json", "not listed in files.sha256"),
        (unlist("secret.key"), "secret.key", "not listed in files.sha256"),
        (take_back, "*", "not listed in files.sha256"),
        (lose("secret.key"), "secret.key", "missing"),
        (lose("images.lance/data/*.lance"), "images.lance/data/*.lance", "missing"),
        (lose("rejected.lance/data/*.lance"), "rejected.lance/data/*.lance", "missing"),
        (lose_newest, "images.lance/_versions/*.manifest", "missing"),
    ],
)
def test_what_no_kill_explains_is_told_and_stops_writers(gallery, lock, damage, place, problem):
    damage(gallery)
    (gallery.path / "writer.lock").write_bytes(lock)
    for _ in range(2):  # a writer that was stopped leaves no less to see
        problems = [one for one in verify(gallery.path).problems if one.place != "."]
        problems = [one for one in problems if not one.place.endswith("hint.json")]
        assert problems
        assert {one.problem for one in problems} == {problem}
        assert all(Path(one.place).match(place) for one in problems)
        assert all(one.advice.startswith("Restore the gallery") for one in problems)
        with pytest.raises(GalleryDamaged, match=problem), gallery.writer():
            pass


def test_one_report_of_a_run_may_lack_after_a_kill_and_not_two(gallery):
    with gallery.writer() as writer:
        writer.record_run(
            Run("2026-11-23T08:00Z", "2026-11-23T09:00Z", "done", (), 0, 0, 0, 0, {}, 0, 0, (2, 3), {})
        )
    (gallery.path / "writer.lock").write_bytes(b"99999\n")
    unlist("runs/20261123")(gallery)
    assert verify(gallery.path).problems == ()
    unlist("runs/")(gallery)
    assert [one.place for one in verify(gallery.path).problems] == ["runs/20261122T080000.000000Z.json"]


def test_files_that_are_missing_are_not_counted_as_checked(gallery):
    listed = verify(gallery.path).files
    next(gallery.path.glob("runs/*.json")).unlink()
    assert verify(gallery.path).files == listed - 1
    lose_list(gallery)
    assert verify(gallery.path).files == 0


def test_a_version_is_listed_after_what_it_is_made_of_and_after_those_before(gallery):
    with gallery.writer() as writer:
        writer.delete("uri = '1.png'", for_good=True)
    names = [line.split()[1] for line in (gallery.path / "files.sha256").read_text().splitlines()]
    for table in ("images.lance", "rejected.lance"):
        versions = [name for name in names if name.startswith(f"{table}/_versions")]
        assert versions[-1] == min(versions)
        made_of = [f"{table}/{name}" for name in Table.open(gallery.path / table).files()]
        assert max(map(names.index, made_of)) == names.index(versions[-1])


def test_a_failed_commit_leaves_a_gallery_without_problems(gallery, monkeypatch):
    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medsiglip_search.checksums.append_to_list", no_room)
    message = "No space left on device. What was committed before is kept"
    with gallery.writer() as writer, pytest.raises(GalleryError, match=message):
        writer.commit([instance("new")], [b""], np.eye(8)[:1], [])
    assert verify(gallery.path).problems == ()
    monkeypatch.undo()
    with gallery.writer() as writer:
        writer.commit([instance("new", mtime_ns=2)], [b""], np.eye(8)[:1], [])
    assert (verify(gallery.path).problems, len(gallery)) == ((), 9)


def test_what_a_killed_writer_had_begun_is_swept_away_by_the_next(gallery):
    begun = ["images.lance/data/.tmpAbCdEf", "images.lance/_versions/18446744073709551600.manifest#1"]
    for name in (*begun, "runs/20261122T080000.000000Z.json.unfinished", "files.sha256.unfinished"):
        (gallery.path / name).write_bytes(b"half")
    (gallery.path / "writer.lock").write_bytes(b"99999\n")
    assert verify(gallery.path).problems == ()
    with gallery.writer():
        pass
    assert not [path for path in files_of(gallery) if path.read_bytes() == b"half"]
    assert verify(gallery.path).problems == ()


def test_a_removal_that_was_killed_half_way_is_noted_by_the_next_writer_and_a_loss_is_not(gallery):
    file = next(gallery.path.glob("images.lance/_transactions/0-*.txn"))
    file.unlink()
    with pytest.raises(GalleryDamaged, match="missing"), gallery.writer():
        pass
    assert [one.problem for one in verify(gallery.path).problems] == ["missing"]
    (gallery.path / "writer.lock").write_bytes(b"99999\n")
    assert verify(gallery.path).problems == ()
    with gallery.writer():
        pass
    assert verify(gallery.path).problems == ()


def test_the_report_of_a_run_may_change_until_the_run_ends(gallery, monkeypatch):
    begun = Run("2026-11-23T08:00Z", None, "running", (), 0, 0, 0, 0, {}, 0, 0, (2, 3), {})
    with gallery.writer() as writer:
        writer.record_run(begun)
        with monkeypatch.context() as broken:
            broken.setattr(Table, "with_rows", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                writer.commit([instance("new")], [b""], np.eye(8)[:1], [])
        writer.commit([instance("new")], [b""], np.eye(8)[:1], [])
        writer.record_run(replace(begun, ended="2026-11-23T08:01Z", state="failed"))
    assert [run.state for run in gallery.runs()] == ["failed", "done"]
    assert verify(gallery.path).problems == ()


def test_a_hint_that_lags_behind_a_kill_is_no_damage(gallery):
    hint = gallery.path / "images.lance" / "_versions" / "latest_version_hint.json"
    assert json.loads(hint.read_bytes()) == {"version": Table.open(gallery.path / "images.lance").version}
    hint.write_bytes(b'{"version":1}')
    assert [one.place for one in verify(gallery.path).problems] == [str(hint.relative_to(gallery.path))]
    (gallery.path / "writer.lock").write_bytes(b"99999\n")
    assert verify(gallery.path).problems == ()
    with gallery.writer():
        pass
    assert verify(gallery.path).problems == ()
