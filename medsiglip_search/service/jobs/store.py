"""What is kept of jobs on disk, so that they survive a reload, and the service its own end.

FOLDER/lock              held by the service whose jobs they are
FOLDER/ID/job.json       the job, written whole on each change of its state; 0700 as all that is in ID
FOLDER/ID/files/         what it made
"""

import logging
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from pydantic import TypeAdapter

from medsiglip_search import locks
from medsiglip_search.errors import NotFound, Unavailable
from medsiglip_search.files import write_file
from medsiglip_search.service.jobs import Job, JobFile

RECORD, FILES = "job.json", "files"
MEDIA_TYPES = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
}

_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_JOB = TypeAdapter(Job)

log = logging.getLogger(__name__)


class JobStore:
    """The folders of jobs, all of one service."""

    def __init__(self, folder: Path, keep_s: float) -> None:
        """keep_s: how long what cannot be read is left aside before it is removed.

        Raises Unavailable if another service has the folder, or where it cannot be written.
        """
        self._folder = folder
        self._keep_s = keep_s
        self._held = ExitStack()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._held.enter_context(locks.exclusive(folder / "lock"))
        except locks.Held:
            raise Unavailable(
                "jobs: another service keeps its own there; end it, or name another folder"
            ) from None
        except OSError as error:
            raise Unavailable(f"jobs: {_why(error)}; check the folder of the service") from None

    def close(self) -> None:
        """Leave the folder to another service."""
        self._held.close()

    def folder_of(self, job_id: str) -> Path:
        """Return the folder of a job."""
        return self._folder / job_id

    def add(self, job: Job) -> None:
        """Make the folder of a new job. Raises Unavailable where it cannot be written."""
        folder = self.folder_of(job.id)
        try:
            folder.mkdir(mode=0o700)
            (folder / FILES).mkdir()
            self._write(job)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise Unavailable(
                f"the job cannot be kept: {_why(error)}; make room for it, and start it again"
            ) from None

    def keep(self, job: Job) -> None:
        """Write what became of a job; where that fails it goes on, and the log says so."""
        try:
            self._write(job)
        except OSError as error:
            log.warning("job %s: what became of it cannot be written: %s", job.id, _why(error))

    def read(self) -> Iterator[Job]:
        """Yield the jobs that are there. What cannot be read is left aside, and in time removed."""
        for folder in self._folder.iterdir():
            if not _ID.fullmatch(folder.name):
                continue
            try:
                job = _JOB.validate_json((folder / RECORD).read_bytes())
                if job.id != folder.name:
                    raise ValueError(job.id)
            except (OSError, ValueError):
                log.warning("job %s: its record is damaged; it is left aside", folder.name)
                self._drop_if_old(folder)
                continue
            yield job

    def made(self, job_id: str) -> tuple[JobFile, ...]:
        """Return the files that a job made."""
        return tuple(
            JobFile(path.name, MEDIA_TYPES.get(path.suffix, "application/octet-stream"), path.stat().st_size)
            for path in sorted((self.folder_of(job_id) / FILES).iterdir())
            if path.is_file() and not path.name.startswith(".")
        )

    def file(self, job: Job, name: str) -> Path:
        """Return where a file is that the job lists. Raises NotFound for any other."""
        files = self.folder_of(job.id) / FILES
        path = files / name
        is_listed = any(one.name == name for one in job.files)
        if not is_listed or path.parent != files or path.is_symlink() or not path.is_file():
            raise NotFound("the job has no such file; ask for one that it lists")
        return path

    def empty(self, job_id: str) -> None:
        """Remove all that a job has made, but for its record."""
        folder = self.folder_of(job_id)
        shutil.rmtree(folder / FILES, ignore_errors=True)
        with suppress(OSError):
            for path in folder.iterdir():
                if path.name != RECORD:
                    path.unlink()

    def remove(self, job_id: str) -> None:
        """Remove a job with all that it made."""
        shutil.rmtree(self.folder_of(job_id), ignore_errors=True)

    def _write(self, job: Job) -> None:
        write_file(self.folder_of(job.id) / RECORD, _JOB.dump_json(job, indent=1), mode=0o600)

    def _drop_if_old(self, folder: Path) -> None:
        # It may hold what was made of patients' pictures, and nobody can ask for it any more.
        if folder.lstat().st_mtime < time.time() - self._keep_s:
            shutil.rmtree(folder, ignore_errors=True)


def _why(error: OSError) -> str:
    """Return what the system says, without the path."""
    return (error.strerror or "the disk does not take it").lower()
