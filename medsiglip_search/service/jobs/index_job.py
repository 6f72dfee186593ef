"""Indexing as a job: the command in a process of its own.

What it takes, and a decoder or a GPU that breaks down, cost the job and not the service.
"""

import json
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO, Any

from medsiglip_search import terminal
from medsiglip_search.errors import InvalidQuery, NotFound, ServiceError
from medsiglip_search.service.jobs.course import Course, Stopped
from medsiglip_search.service.jobs.index_child import EXIT_INTERRUPTED
from medsiglip_search.service.jobs.telling import told

# Found where this program finds its modules, and not in the folder that it happens to be in.
_PROGRAM = "import sys; sys.path[:] = {}; from medsiglip_search.service.jobs.index_child import main; main()"
_LINE_BYTES = 1 << 16
_ERROR = "error: "
_GO_ON = "what was indexed is kept. Start it again, and it goes on where it stopped"


@dataclass(frozen=True, slots=True)
class IndexRequest:
    """What is asked for. archives: their names. prune, retry_rejected: as of the command."""

    archives: tuple[str, ...]
    prune: bool = False
    retry_rejected: bool = False


@dataclass(frozen=True, slots=True)
class IndexWork:
    """Brings the gallery at `path` up to date; users know it as `gallery`, and the archives by their names.

    workers: processes that decode, one for each processor if None.
    """

    gallery: str
    path: Path
    archives: Mapping[str, str]
    prune: bool = False
    retry_rejected: bool = False
    device: str = "auto"
    workers: int | None = None

    def __call__(self, course: Course) -> dict[str, Any]:
        """Return the command's report, and the names of the archives."""
        # A file, and not a second pipe that somebody would have to read beside the first.
        with tempfile.TemporaryFile(dir=course.folder) as out, self._started(out) as child:
            assert child.stderr is not None
            course.when_stopped(partial(_end, child))
            problem = _follow(child.stderr, course)
            code = child.wait()
            out.seek(0)
            summary = {**_report(out.read()), "archives": list(self.archives)}
        if code == 0:
            return summary
        if code in (EXIT_INTERRUPTED, -signal.SIGINT) or (course.is_stopped and code == -signal.SIGKILL):
            raise Stopped(summary)
        if code < 0:
            raise ServiceError(f"the system ended it (signal {-code}), perhaps for want of memory; {_GO_ON}")
        if not problem:
            raise ServiceError(f"it failed (code {code}); {_GO_ON}")
        raise ServiceError(told(problem, {str(self.path): self.gallery} | _by_place(self.archives)))

    def _started(self, out: IO[bytes]) -> "Popen[bytes]":
        """Return the process, in a group of its own: Ctrl-C is for the service, which then ends it."""
        folders = [folder for folder in sys.path if isinstance(folder, str)]
        options = ["--json", "--device", self.device]
        options += ["--prune"] if self.prune else []
        options += ["--retry-rejected"] if self.retry_rejected else []
        options += ["--workers", str(self.workers)] if self.workers else []
        places = [str(self.path), *self.archives.values()]
        command = [sys.executable, "-c", _PROGRAM.format(folders), "index", *options, "--", *places]
        return Popen(command, stdin=PIPE, stdout=out, stderr=PIPE, process_group=0)


def index_work(
    request: IndexRequest, gallery: str, path: Path, archives: Mapping[str, str | Path], device: str = "auto"
) -> IndexWork:
    """Return the work of a request. archives: all that may be indexed, by name.

    Raises InvalidQuery if none is asked for, NotFound for another one.
    """
    if not request.archives:
        raise InvalidQuery("no archive is named; name at least one")
    if any(name not in archives for name in request.archives):
        raise NotFound("there is no archive of such a name; ask for one of those that the service lists")
    asked = {name: str(archives[name]) for name in dict.fromkeys(request.archives)}
    return IndexWork(gallery, path, asked, request.prune, request.retry_rejected, device)


def _by_place(archives: Mapping[str, str]) -> dict[str, str]:
    return {place: name for name, place in archives.items()}


def _end(child: "Popen[bytes]", grace_s: float) -> None:
    """Have the process store what it has and end; at once if it takes longer than that."""
    assert child.stdin is not None
    child.stdin.close()
    killer = threading.Timer(grace_s, child.kill)
    killer.daemon = True
    killer.start()


def _follow(lines: IO[bytes], course: Course) -> str:
    """Tell the progress until the process ends, and return the error it ended with, "" if none.

    All else that it says is dropped: it may name files.
    """
    problem = ""
    while line := lines.readline(_LINE_BYTES):
        text = line.decode(errors="replace").strip()
        if text.startswith(_ERROR):
            problem = text.removeprefix(_ERROR)
        elif text.startswith("{"):
            with suppress(ValueError, KeyError, TypeError):
                _tell(json.loads(text), course)
    return problem


def _tell(progress: Mapping[str, Any], course: Course) -> None:
    word = terminal.index_word({**progress, "seconds_left": None})
    total = progress["total"] if progress["listed"] else None
    course.tell(progress["files"], total, word, progress["seconds_left"])


def _report(printed: bytes) -> dict[str, Any]:
    """Return what the process printed last, nothing where that is no report."""
    lines = printed.splitlines() or [b""]
    try:
        return dict(json.loads(lines[-1]))
    except (ValueError, TypeError):
        return {}
