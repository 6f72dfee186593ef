import os
import signal
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from galleries import gallery_of, instance, rejected

from medsiglip_search import backup
from medsiglip_search.backup import back_up
from medsiglip_search.errors import GalleryDamaged, GalleryError
from medsiglip_search.gallery import Gallery
from medsiglip_search.index import open_index
from medsiglip_search.records import Run
from medsiglip_search.verify import verify

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def gallery(tmp_path):
    gallery = gallery_of(tmp_path / "g", np.eye(8))
    with gallery.writer() as writer:
        writer.commit([instance("3.png", mtime_ns=2)], [b"new"], np.eye(8)[:1], [rejected("bad")])
        writer.record_run(
            Run("2026-11-22T08:00Z", "2026-11-22T08:01Z", "done", (), 1, 0, 1, 0, {}, 1, 1, (2, 3), {})
        )
    return gallery


def contents(gallery):
    ids, embeddings = gallery.embeddings()
    rows = gallery.instances(ids), gallery.thumbnails(ids), embeddings.tolist()
    return *rows, gallery.rejected(), gallery.runs(), gallery.meta, gallery.secret_key, gallery.version


def test_a_copy_holds_what_the_gallery_held(gallery, tmp_path):
    open_index(gallery)
    copy = back_up(gallery, tmp_path / "backups" / "monday")
    assert contents(copy) == contents(gallery)
    verification = verify(copy.path)
    assert (verification.rows, verification.problems, verification.notices) == (8, (), ())
    assert stat.S_IMODE((copy.path / "secret.key").stat().st_mode) == 0o600
    assert not (copy.path / "index").exists()
    assert str(gallery.path).encode() not in b"".join(
        file.read_bytes() for file in copy.path.rglob("*") if file.is_file()
    )
    assert os.listdir(copy.path.parent) == ["monday"]


def test_a_copy_and_its_gallery_go_separate_ways(gallery, tmp_path):
    copy = back_up(gallery, tmp_path / "copy")
    before = contents(copy)
    with gallery.writer() as writer:
        writer.delete("1 = 1")
        writer.purge()
    assert contents(Gallery.open(copy.path)) == before
    with copy.writer() as writer:
        assert writer.commit([instance("new")], [b""], np.eye(8)[:1], []).tolist() == [10]
        writer.compact(timedelta(0))
    assert (len(gallery), len(copy)) == (0, 9)
    assert verify(copy.path).problems == verify(gallery.path).problems == ()


def test_a_reader_copies_the_version_it_is_on(gallery, tmp_path):
    before = contents(gallery)
    with Gallery.open(gallery.path).writer() as writer:
        writer.delete("uri = '1.png'")
        copy = back_up(gallery, tmp_path / "copy")
    assert contents(copy) == before
    assert verify(copy.path).problems == ()


def test_a_version_that_is_removed_meanwhile_is_given_up_for_the_newest(gallery, tmp_path, monkeypatch):
    copy_one, copied = backup._copy, []

    def copy_and_then_purge(source, *rest):
        copied.append(source.name)
        if len(copied) == 4:
            with Gallery.open(gallery.path).writer() as writer:
                writer.delete("uri = '1.png'")
                writer.purge()
        return copy_one(source, *rest)

    monkeypatch.setattr(backup, "_copy", copy_and_then_purge)
    copy = back_up(gallery, tmp_path / "copy")
    assert "1.png" not in [one.uri for one in copy.instances(copy.select(None))]
    assert contents(copy) == contents(gallery) == contents(Gallery.open(gallery.path))
    assert verify(copy.path).problems == ()


def test_something_that_stands_there_is_left_alone(gallery, tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("mine", "g", "g/copy"):
        with pytest.raises(GalleryError, match="Name a new folder"):
            back_up(gallery, tmp_path / name)
    assert verify(gallery.path).problems == ()


def test_damage_is_not_copied(gallery, tmp_path):
    data = next((gallery.path / "images.lance" / "data").iterdir())
    sound = data.read_bytes()
    data.write_bytes(sound[:100] + bytes([sound[100] ^ 1]) + sound[101:])
    with pytest.raises(GalleryDamaged, match=rf"{data.name}: not as it was written"):
        back_up(gallery, tmp_path / "copy")
    data.unlink()
    with pytest.raises(GalleryDamaged, match=rf"{data.name}: missing"):
        back_up(gallery, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g"]


def test_a_full_disk_leaves_no_half_copy(gallery, tmp_path, monkeypatch):
    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medsiglip_search.checksums.write_list", no_room)
    with pytest.raises(GalleryError, match="No space left on device"):
        back_up(gallery, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g"]


def test_a_copy_that_was_killed_is_no_gallery_and_can_be_made_again(gallery, tmp_path):
    kill_at_the_end = """
import os, signal, sys
from medsiglip_search import checksums
from medsiglip_search.backup import back_up
from medsiglip_search.gallery import Gallery

checksums.write_list = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
back_up(Gallery.open(sys.argv[1]), sys.argv[2])
"""
    killed = subprocess.run([sys.executable, "-c", kill_at_the_end, gallery.path, tmp_path / "copy"])
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "copy").exists()
    assert contents(back_up(gallery, tmp_path / "copy")) == contents(gallery)


def test_a_gallery_is_copied_while_a_writer_is_at_work(gallery, tmp_path):
    code = """
import sys
from datetime import timedelta
import numpy as np
from galleries import instance
from medsiglip_search.gallery import Gallery

with Gallery.open(sys.argv[1]).writer() as writer:
    for number in range(100_000):
        batch = [instance(f"{row}.png", mtime_ns=number) for row in range(8)]
        writer.commit(batch, [str(number).encode()] * 8, np.eye(8), [])
        writer.compact(timedelta(0))
        print(number, flush=True)
"""
    path = f"{REPOSITORY}{os.pathsep}{Path(__file__).parent}"
    writer = subprocess.Popen(
        [sys.executable, "-c", code, gallery.path],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
    )
    try:
        writer.stdout.readline()
        for number in range(5):
            copy = back_up(Gallery.open(gallery.path), tmp_path / f"copy {number}")
            rows = copy.instances(copy.select(None))
            assert [one.uri for one in rows] == [f"{row}.png" for row in range(8)]
            assert len({one.mtime_ns for one in rows}) == 1
            assert verify(copy.path).problems == ()
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.communicate()
