"""Disks that are full, broken or closed, and clocks that go back: what a run says, and what it leaves."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from archives import ColourEncoder, colours, images, make_gallery, save

from indexer.pipeline import index_archives
from medsiglip_search.gallery import Gallery
from medsiglip_search.verify import verify

HERE = Path(__file__).parent
DAY_S = 86_400
FREE_KB = 24
LARGEST_FILE = 4500
"""In bytes: above the memory that a small picture is handed over in, below what a commit writes."""

FULL, BROKEN = os.strerror(errno.ENOSPC), os.strerror(errno.EIO)
TOO_LARGE, DENIED = os.strerror(errno.EFBIG), os.strerror(errno.EACCES)

# Root passes over permissions unless it gives up the right to.
OBEDIENT = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
needs_setpriv = pytest.mark.skipif(
    bool(OBEDIENT and not shutil.which(OBEDIENT[0])), reason="root without setpriv passes over permissions"
)

Ended = subprocess.CompletedProcess[str]
Rows = Mapping[tuple[str, int], list[float]]


@dataclass(frozen=True)
class Site:
    """A gallery that holds half of an archive.

    before: the rows that it holds; complete: those that it holds when all has been indexed.
    """

    gallery: Path
    archive: Path
    before: Rows
    complete: Rows

    def run(self, *command: str, ahead: Sequence[str] = (), **environment: str) -> Ended:
        """Run a command of the project on the gallery; ahead: a program that runs it."""
        name, *arguments = command
        program = [*ahead, sys.executable, str(HERE / "fault_child.py"), name, str(self.gallery), *arguments]
        return subprocess.run(program, capture_output=True, text=True, env=os.environ | environment)

    def require_sound(self) -> None:
        """Check that the gallery opens and holds what was committed."""
        assert images(Gallery.open(self.gallery)).items() >= self.before.items()
        assert verify(self.gallery).problems == ()

    def require_goes_on(self) -> None:
        """Check that the next run completes the gallery."""
        gallery = Gallery.open(self.gallery)
        index_archives(gallery, [str(self.archive)], ColourEncoder(), workers=1)
        assert images(gallery) == self.complete
        assert verify(self.gallery).problems == ()


@pytest.fixture(scope="module")
def half_done(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    archive, held = folder / "archive", []
    for number, colour in enumerate(colours(24)):
        save(archive / f"{number:02d}.png", colour)
        if number % 2 == 0:
            held.append(save(folder / "held" / f"{number:02d}.png", colour))
    complete, gallery = (make_gallery(folder / name, ColourEncoder()) for name in ("complete", "gallery"))
    index_archives(complete, [str(archive)], ColourEncoder(), workers=1)
    for number in range(1, 24, 2):
        (archive / f"{number:02d}.png").rename(folder / f"{number:02d}.png")
    index_archives(gallery, [str(archive)], ColourEncoder(), workers=1)
    for number in range(1, 24, 2):
        (folder / f"{number:02d}.png").rename(archive / f"{number:02d}.png")
    return Site(gallery.path, archive, images(gallery), images(complete))


@pytest.fixture
def site(half_done: Site, tmp_path: Path) -> Site:
    shutil.copytree(half_done.gallery, tmp_path / "gallery")
    return replace(half_done, gallery=tmp_path / "gallery")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the library that makes calls fail, compiled."""
    if sys.platform != "linux" or not shutil.which("gcc"):
        pytest.skip("needs Linux and gcc, for system calls that fail")
    library = tmp_path_factory.mktemp("shim") / "failing_calls.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, HERE / "failing_calls.c", "-ldl"], check=True)
    return str(library)


def failing(shim: str, call: str, path: Path | str, error: str, after: int = 0) -> dict[str, str]:
    """Return the environment in which a system call fails after so many that succeed."""
    number = next(code for code in errno.errorcode if os.strerror(code) == error)
    return {
        "LD_PRELOAD": shim,
        "FAIL_CALL": call,
        "FAIL_PATH": str(path),
        "FAIL_AFTER": str(after),
        "FAIL_ERRNO": str(number),
    }


def largest_file(size: int) -> list[str]:
    """Return the program that lets another one write files of so many bytes at most."""
    if not shutil.which("prlimit"):
        pytest.skip("needs prlimit, of util-linux")
    return ["prlimit", f"--fsize={size}"]


def assert_says(ended: Ended, error: str) -> None:
    """Check that a command failed with one error of ours that names the cause."""
    said = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, ended.stderr
    assert error in said[0]
    assert "[Errno" not in said[0]
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 1


@pytest.mark.parametrize(
    ("call", "path", "error", "after"),
    [
        pytest.param("write", "images.lance/data", FULL, 0, id="full, rows"),
        pytest.param("write", "images.lance/data", FULL, 3, id="full, the end of a file of rows"),
        pytest.param("write", "images.lance/_versions", FULL, 0, id="full, manifest"),
        pytest.param("write", "files.sha256", FULL, 1, id="full, list of files"),
        pytest.param("create", "runs/", FULL, 0, id="full, run report"),
        pytest.param("sync", "", BROKEN, 6, id="broken, flush"),
        pytest.param("read", "images.lance/data", BROKEN, 2, id="broken, reading rows"),
        pytest.param("create", "images.lance/data", DENIED, 1, id="denied from the second commit on"),
    ],
)
def test_a_disk_that_fails_ends_the_run_and_costs_nothing(
    site: Site, shim: str, call: str, path: str, error: str, after: int
) -> None:
    conditions = failing(shim, call, site.gallery / path, error, after)
    assert_says(site.run("index", str(site.archive), "--workers", "1", **conditions), error)
    site.require_sound()
    site.require_goes_on()


def test_a_list_of_files_that_cannot_be_written_anew_keeps_the_old_one(site: Site, shim: str) -> None:
    assert_says(site.run("compact", **failing(shim, "create", site.gallery / "files.sha256", FULL)), FULL)
    site.require_sound()
    site.require_goes_on()


def test_a_disk_that_is_full_while_compacting_keeps_the_rows_as_they_lie(site: Site, shim: str) -> None:
    with Gallery.open(site.gallery).writer() as writer:  # something to compact
        writer.delete("uri = '00.png'")
    left = {row: embedding for row, embedding in site.before.items() if row != ("00.png", 0)}
    for after in (0, 1):
        conditions = failing(shim, "write", site.gallery / "images.lance/data", FULL, after)
        assert_says(site.run("compact", **conditions), FULL)
        replace(site, before=left).require_sound()
    site.require_goes_on()


def test_a_disk_that_is_full_while_deleting_keeps_the_rows(site: Site, shim: str) -> None:
    conditions = failing(shim, "write", site.gallery / "images.lance/_deletions", FULL)
    assert_says(site.run("delete", "--where", "uri = '00.png'", **conditions), FULL)
    site.require_sound()
    site.require_goes_on()


def test_a_full_disk_keeps_the_index_in_memory(site: Site, shim: str) -> None:
    right = site.run("search", "anything", "--json").stdout
    for path in (site.gallery / "index").iterdir():
        path.unlink()
    full = site.run("search", "anything", "--json", **failing(shim, "create", site.gallery / "index/", FULL))
    small = site.run("search", "anything", "--json", ahead=largest_file(0))
    assert (full.returncode, full.stdout) == (small.returncode, small.stdout) == (0, right)
    site.require_sound()


def test_a_limit_on_the_size_of_files_is_told(site: Site) -> None:
    ended = site.run("index", str(site.archive), "--workers", "1", ahead=largest_file(LARGEST_FILE))
    assert_says(ended, TOO_LARGE)
    site.require_sound()
    site.require_goes_on()


@needs_setpriv
def test_a_folder_that_may_only_be_read_is_told_and_can_be_searched(site: Site) -> None:
    folders = [folder for folder, _, _ in os.walk(site.gallery)]
    for folder in folders:
        os.chmod(folder, 0o500)
    os.chmod(site.gallery / "writer.lock", 0o400)
    ended = site.run("index", str(site.archive), "--workers", "1", ahead=OBEDIENT)
    searched = site.run("search", "anything", "--json", ahead=OBEDIENT)
    for folder in folders:
        os.chmod(folder, 0o700)
    os.chmod(site.gallery / "writer.lock", 0o600)
    assert_says(ended, DENIED)
    assert searched.returncode == 0
    assert len(searched.stdout.splitlines()) == 10
    site.require_sound()
    site.require_goes_on()


@needs_setpriv
def test_a_permission_that_is_lost_half_way_is_told(site: Site) -> None:
    data = site.gallery / "images.lance" / "data"
    conditions = {"LOSE_PERMISSION": str(data)}
    ended = site.run("index", str(site.archive), "--workers", "1", ahead=OBEDIENT, **conditions)
    os.chmod(data, 0o700)
    assert_says(ended, DENIED)
    assert len(images(Gallery.open(site.gallery))) > len(site.before)
    site.require_sound()
    site.require_goes_on()


@pytest.mark.parametrize("shift", [-400 * DAY_S, 400 * DAY_S], ids=["back", "ahead and back again"])
def test_a_clock_that_is_set_back_loses_nothing(site: Site, shim: str, shift: int) -> None:
    conditions = {"LD_PRELOAD": shim, "CLOCK_SHIFT": str(shift)}
    assert site.run("index", str(site.archive), "--workers", "1", **conditions).returncode == 0
    assert site.run("compact", **conditions).returncode == 0
    assert images(Gallery.open(site.gallery)) == site.complete
    assert site.run("compact").returncode == 0
    assert verify(site.gallery).problems == ()
    site.require_goes_on()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_small_disk_that_fills_up_is_told(site: Site) -> None:
    disk = site.gallery.with_name("disk")
    disk.mkdir()
    # The disk is gone with the process that sees it, so what is on it is copied there and back.
    size_kb = sum(-(-path.stat().st_size // 4096) * 4 for path in site.gallery.rglob("*"))
    script = (
        f'mount -t tmpfs -o size={size_kb + FREE_KB}k disk "{disk}" || exit 9; '
        f'cp -a "{site.gallery}/." "{disk}" || exit 9; '
        f'"$0" "$1" "$2" "{disk}" "${{@:4}}"; code=$?; '
        f'rm -r "{site.gallery}" && cp -a "{disk}" "{site.gallery}"; exit $code'
    )
    private = ["unshare", "--mount", "bash", "-c", script]
    ended = site.run("index", str(site.archive), "--workers", "1", ahead=private)
    if ended.returncode == 9:
        pytest.skip("no small disk can be mounted here")
    assert_says(ended, FULL)
    site.require_sound()
    site.require_goes_on()
