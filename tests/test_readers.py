"""One writer and any number of readers; a short run of what `make readers` does at length."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import readers_child
from archives import ColourEncoder, make_gallery, save
from galleries import instance
from readers import READERS, run
from readers_child import MarkedEncoder, Mixed

from medsiglip_search.gallery import Gallery
from medsiglip_search.search import Searcher

HERE = Path(__file__).parent
HOLD = (
    "import sys; from medsiglip_search.gallery import Gallery\n"
    "with Gallery.open(sys.argv[1]).writer(): print('held', flush=True); sys.stdin.read()"
)


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Have another process hold the writer's lock."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


def index(gallery: Path, archive: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "fault_child.py"), "index", str(gallery), str(archive), "--json"]
    return subprocess.run([*command, "--workers", "1"], capture_output=True, text=True)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return save(tmp_path / "archive" / "a.png").parent


def test_readers_find_one_version_while_a_writer_works(tmp_path: Path) -> None:
    report = run(tmp_path, seconds=10)
    assert len(report.searches) == READERS
    assert report.versions > 10
    assert min(report.seen) > 5
    assert max(report.growth) < 0.05


def test_rows_of_two_versions_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "gallery"
    readers_child.make(path)
    assert readers_child.check(Searcher.open(path, MarkedEncoder())) == 1
    with Gallery.open(path).writer() as writer:
        writer.commit([instance("0.png", year=2)], [b""], readers_child.embeddings_of(2)[:1], ())
    with pytest.raises(Mixed, match="rows of the versions"):
        readers_child.check(Searcher.open(path, MarkedEncoder()))


def test_an_index_of_another_version_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "gallery"
    readers_child.make(path)
    with Gallery.open(path).writer() as writer:
        instances = [instance(f"{number}.png", year=1) for number in range(readers_child.FILES)]
        writer.commit(instances, [b""] * len(instances), readers_child.embeddings_of(2), ())
    with pytest.raises(Mixed, match="version 1: "):
        readers_child.check(Searcher.open(path, MarkedEncoder()))


def test_a_second_writer_is_refused_even_if_the_first_one_hangs(tmp_path: Path, archive: Path) -> None:
    gallery = make_gallery(tmp_path / "gallery", ColourEncoder())
    with held(gallery.path) as holder:
        os.kill(holder.pid, signal.SIGSTOP)
        refused = index(gallery.path, archive)
        os.kill(holder.pid, signal.SIGCONT)
    assert refused.returncode == 5
    assert f"process {holder.pid} is writing to it" in refused.stderr
    assert len(Gallery.open(gallery.path)) == 0


@pytest.mark.parametrize("whose", ["its own", "of another process by now"])
def test_the_lock_of_a_killed_writer_is_taken_over(tmp_path: Path, archive: Path, whose: str) -> None:
    gallery = make_gallery(tmp_path / "gallery", ColourEncoder())
    with held(gallery.path) as holder:
        holder.kill()
    lock = gallery.path / "writer.lock"
    assert lock.read_text() == f"{holder.pid}\n"
    if whose != "its own":
        lock.write_text(f"{os.getpid()}\n")
    report = index(gallery.path, archive)
    assert (report.returncode, json.loads(report.stdout.splitlines()[-1])["embedded"]) == (0, 1)
