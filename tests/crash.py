"""Kills what writes to a gallery, again and again, and looks at what is left: `python tests/crash.py`.

Real processes index, delete, compact, purge, import and search on one small gallery, and are killed (SIGKILL)
at random instants: half of them at any time of their run, half around a commit. After each kill the gallery
must open and hold what was committed and nothing twice, and `verify` must find no problem. In the end a last
run must give what an uninterrupted one gives.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from archives import ColourEncoder, make_gallery, save, save_pages
from crash_log import Rows, Violation, count_begun, read_log, rows_of
from galleries import instance, unit

from indexer.pipeline import index_archives
from medsiglip_search.gallery import Gallery
from medsiglip_search.transfer.exporting import export
from medsiglip_search.transfer.importing import import_embeddings
from medsiglip_search.verify import verify

FILES = 24
TASKS = {"index": 10, "import": 3, "delete": 3, "compact": 3, "purge": 2, "search": 1}
MARK = "CRASH_TEST"
COMMIT_S = 0.06  # around which a kill is aimed at a commit
ENDED_WITHIN_S = 60.0

Colour = tuple[int, int, int]


@dataclass
class Report:
    """What was killed: by task, and how many of them within a commit."""

    kills: Counter[str] = field(default_factory=Counter)
    within_commit: int = 0
    finished: int = 0

    @property
    def count(self) -> int:
        return sum(self.kills.values())

    def __str__(self) -> str:
        tasks = ", ".join(f"{task} {count}" for task, count in sorted(self.kills.items()))
        return (
            f"{self.count} kills ({tasks}), {self.within_commit} of them within a commit; "
            f"{self.finished} runs came to their end before"
        )


class Crashes:
    """One gallery, the archive that it is made of, and the processes that are killed at it."""

    def __init__(self, folder: Path, seed: int, broken: bool = False) -> None:
        """broken: have the children commit in the wrong order, which must be noticed."""
        self.report = Report()
        self._gallery, self._archive, self._log = folder / "gallery", folder / "archive", folder / "log"
        self._import = folder / "import.npz"
        self._random = Random(seed)
        self._broken = broken
        self._mark = uuid.uuid4().hex
        self._seconds = dict.fromkeys(TASKS, 1.0)  # that a task last took
        self._rows: Rows = {}
        self._ids: dict[int, Any] = {}
        self._colour = 0
        make_gallery(self._gallery, ColourEncoder())
        _write_import(folder / "donor", self._import)
        for number in range(FILES):
            self._write(number)

    def run(self, kills: int, told: Callable[[Report], None] = lambda _: None) -> Report:
        """Kill so many times. Raises Violation as soon as a promise is broken."""
        while self.report.count < kills:
            self._change_archive()
            self._kill_one()
            self._check()
            told(self.report)
        self._require_same_as_uninterrupted()
        self._require_no_process_left()
        return self.report

    def _kill_one(self) -> None:
        task = self._random.choices([*TASKS], TASKS.values())[0]
        self._log.write_bytes(b"")
        with self._child() as child:
            begun = time.monotonic()
            json.dump({"task": task, **self._arguments(task)}, child.stdin)
            child.stdin.write("\n")
            child.stdin.flush()
            self._wait_for_a_moment(task, child)
            ended = child.poll() is not None
            child.kill()
            _, errors = child.communicate()
        if child.returncode not in (0, -9):
            raise Violation(f"{task} ended with {child.returncode}: {errors}")
        if ended:
            self._seconds[task] = time.monotonic() - begun
            self.report.finished += 1
        else:
            self.report.kills[task] += 1

    def _wait_for_a_moment(self, task: str, child: subprocess.Popen) -> None:
        """Return at the instant of the kill, or when the child has ended."""
        aimed = self._random.random() < 0.5
        if aimed:
            commit = self._random.randint(1, 3)
            while count_begun(self._log) < commit and child.poll() is None:
                time.sleep(0.001)
        span = COMMIT_S if aimed else self._seconds[task]
        with suppress(subprocess.TimeoutExpired):
            child.wait(self._random.uniform(0, span))

    def _arguments(self, task: str) -> dict[str, Any]:
        where = f"image_id % 7 = {self._random.randrange(7)}"
        arguments: dict[str, dict[str, Any]] = {
            "index": {"archive": str(self._archive), "prune": self._random.random() < 0.5},
            "import": {"file": str(self._import)},
            "delete": {"where": where},
            "compact": {"keep_s": self._random.choice([0, 3600])},
            "purge": {"where": where},
            "search": {},
        }
        return arguments[task]

    @contextmanager
    def _child(self) -> Iterator[subprocess.Popen]:
        program = [sys.executable, str(Path(__file__).with_name("crash_child.py"))]
        broken = ["broken"] if self._broken else []
        with subprocess.Popen(
            [*program, str(self._gallery), str(self._log), *broken],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {MARK: self._mark},
        ) as child:
            if child.stdout.readline() != "ready\n":
                raise Violation(f"the child did not start: {child.stderr.read()}")
            yield child

    def _check(self) -> None:
        """Compare what is stored with what the child has said that it committed."""
        made, opened = read_log(self._log)
        for change in made:
            self._rows = change.applied(self._rows)
        self.report.within_commit += opened is not None
        stored, by_id = rows_of(Gallery.open(self._gallery))
        if stored != self._rows:
            if opened is None:
                raise Violation(f"not what was committed: {_difference(self._rows, stored)}")
            after = opened.applied(self._rows)
            if stored != after:
                raise Violation(f"half a commit: {_difference(after, stored)}")
        self._rows = stored
        for image_id, row in by_id.items():
            if self._ids.setdefault(image_id, row) != row:
                raise Violation(f"image id {image_id} was {self._ids[image_id]} and is {row}")
        if problems := verify(self._gallery).problems:
            raise Violation(f"verify: {problems}")

    def _require_same_as_uninterrupted(self) -> None:
        reference = self._gallery.with_name("uninterrupted")
        make_gallery(reference, ColourEncoder())
        for path in (self._gallery, reference):
            index_archives(Gallery.open(path), [str(self._archive)], ColourEncoder(), workers=1, prune=True)
            import_embeddings(path, self._import)
        stored, expected = (_everything(Gallery.open(path)) for path in (self._gallery, reference))
        if stored != expected:
            raise Violation(f"not as an uninterrupted run leaves it: {_difference(expected, stored)}")
        if problems := verify(self._gallery).problems:
            raise Violation(f"verify: {problems}")

    def _require_no_process_left(self) -> None:
        """Raise Violation if a process that the killed ones had started goes on."""
        until = time.monotonic() + ENDED_WITHIN_S
        while left := _marked(f"{MARK}={self._mark}".encode()):
            if time.monotonic() > until:
                raise Violation(f"processes are left: {left}")
            time.sleep(0.1)

    def _change_archive(self) -> None:
        """Have something for the next run to do: files change, go and come back."""
        for number in self._random.sample(range(FILES), 8):
            if self._random.random() < 0.25:
                self._path(number).unlink(missing_ok=True)
            else:
                self._write(number)

    def _write(self, number: int) -> None:
        """Write a file that was never there before: a picture, several pages, or one that is rejected."""
        path = self._path(number)
        if number % 6 == 1:
            save_pages(path, [self._new_colour(), None, self._new_colour()])
        elif number % 6 == 2 and self._random.random() < 0.5:
            path.write_bytes(b"\x89PNG\r\n\x1a\n" + self._random.randbytes(20))
        else:
            save(path, self._new_colour())

    def _path(self, number: int) -> Path:
        return self._archive / f"{number:02d}.{'tif' if number % 6 == 1 else 'png'}"

    def _new_colour(self) -> Colour:
        self._colour += 1
        return self._colour % 251, self._colour // 251 % 251, 252


def _write_import(donor: Path, file: Path) -> None:
    """Write a file of embeddings to import."""
    gallery = make_gallery(donor, ColourEncoder())
    instances = [instance(f"{number}.dcm", archive="elsewhere") for number in range(12)]
    with gallery.writer() as writer:
        embeddings = unit([[number, 5, 1] for number in range(len(instances))])
        writer.commit(instances, [b""] * len(instances), embeddings, [])
    export(gallery, file)
    shutil.rmtree(donor)


def _everything(gallery: Gallery) -> dict[Any, Any]:
    """Return all rows with their embedding, and all rejections with their reason."""
    rows: dict[Any, Any] = dict(rows_of(gallery)[0])
    for one in gallery.rejected():
        key = one.archive, one.uri, one.frame, "rejected"
        if key in rows:
            raise Violation(f"{key} is stored twice")
        rows[key] = one.reason
    return rows


def _difference(expected: dict[Any, Any], stored: dict[Any, Any]) -> str:
    missing, more = expected.items() - stored.items(), stored.items() - expected.items()
    few = [sorted(items, key=str)[:3] for items in (missing, more)]
    return f"{len(missing)} rows missing {few[0]}, {len(more)} others {few[1]}"


def _marked(mark: bytes) -> list[str]:
    """Return the processes with this in their environment (Linux; elsewhere none are found)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:  # of another user, or gone
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="how many kills")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    def told(report: Report) -> None:
        if sys.stderr.isatty() or report.count % 20 == 0:
            print(f"\r{report}", end="", file=sys.stderr)

    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        report = Crashes(Path(folder), options.seed).run(options.count, told)
        print(f"\r{report}")
        print(f"nothing lost, nothing twice, every gallery sound; {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
