"""Who runs the jobs: some at once, one that writes in each gallery, the others in their order."""

import logging
import secrets
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from medsiglip_search.errors import Conflict, MedSiglipSearchError, NotFound, ServiceError, Unavailable
from medsiglip_search.service.jobs import Job, Kind, Progress
from medsiglip_search.service.jobs.course import Course, Stopped, Work
from medsiglip_search.service.jobs.store import JobStore
from medsiglip_search.service.jobs.telling import told

MOST_WAITING = 100
WRITING: tuple[Kind, ...] = ("index",)
CANCEL_S = 60.0
"""How long a cancelled job may take to store what it has."""
KEEP_EVERY_S = 1.0
END_S = 5.0
"""How long the threads of jobs may take to note what became of them, when their work was ended."""

INTERRUPTED: dict[Kind, str] = {
    "index": "interrupted; what was indexed is kept. Start it again, and it goes on where it stopped",
    "label": "interrupted, and nothing of it is kept. Start it again",
    "evaluate": "interrupted, and nothing of it is kept. Start it again",
}

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    """A job, and what does it until it ends. kept: when its progress was last written, monotonic."""

    job: Job
    course: Course | None = None
    work: Work | None = None
    kept: float = 0.0


class Jobs:
    """All jobs of a service. For any number of threads."""

    def __init__(self, folder: Path, most_at_once: int = 1, keep_days: float = 7) -> None:
        """Take up what the folder holds: a job that the end of a service cut short is interrupted.

        keep_days: after so long a job that has ended is removed. Raises Unavailable.
        """
        self._keep = timedelta(days=keep_days)
        self._most_at_once = most_at_once
        self._store = JobStore(folder, self._keep.total_seconds())
        self._changed = threading.Condition()
        self._is_closing = False
        found = sorted(self._store.read(), key=lambda job: job.created)
        self._entries = {job.id: _Entry(job) for job in found}
        with self._changed:
            for entry in self._entries.values():
                if not entry.job.has_ended:
                    self._store.empty(entry.job.id)
                    self._end(entry, state="interrupted", problem=INTERRUPTED[entry.job.kind])
            self._drop_expired()

    def start(self, kind: Kind, gallery: str, owner: str, work: Work) -> Job:
        """Return a new job, which runs when its turn comes. Raises Conflict if too many wait; Unavailable."""
        with self._changed:
            if self._is_closing:
                raise Unavailable("the service is ending; start the job when it is there again")
            self._drop_expired()
            if sum(entry.job.state == "waiting" for entry in self._entries.values()) >= MOST_WAITING:
                raise Conflict(
                    f"{MOST_WAITING} jobs are waiting, and no more may; cancel some, or come again later"
                )
            job = Job(secrets.token_urlsafe(16), kind, gallery, owner, "waiting", _now())
            self._store.add(job)
            entry = self._entries[job.id] = _Entry(job, work=work)
            entry.course = Course(self._store.folder_of(job.id), partial(self._hear, entry))
            self._begin_next()
            self._changed.notify_all()
            return entry.job

    def job(self, job_id: str) -> Job:
        """Return the job as it is now. Raises NotFound."""
        with self._changed:
            return self._entry(job_id).job

    def jobs(self, owner: str | None = None) -> list[Job]:
        """Return the jobs, or those of one owner, the newest first."""
        with self._changed:
            self._drop_expired()
            jobs = [entry.job for entry in reversed(self._entries.values())]
        return [job for job in jobs if owner is None or job.owner == owner]

    def cancel(self, job_id: str) -> Job:
        """Tell a job to end, and return it as it is now; one that has ended stays so. Raises NotFound."""
        with self._changed:
            entry = self._entry(job_id)
            if entry.job.state == "waiting":
                self._end(entry, state="cancelled")
            elif entry.job.state == "running" and entry.course is not None:
                entry.course.stop("cancelled", CANCEL_S)
                self._hear(entry, entry.job.progress)
            return entry.job

    def file(self, job_id: str, name: str) -> Path:
        """Return where a file is that the job lists. Raises NotFound."""
        return self._store.file(self.job(job_id), name)

    def wait_for_change(self, job_id: str, since: Job, timeout: float | None = None) -> Job:
        """Return the job once it differs from `since`, or as it is after so many seconds. Raises NotFound."""
        with self._changed:
            self._changed.wait_for(lambda: self._entry(job_id).job != since, timeout)
            return self._entry(job_id).job

    def close(self, grace_s: float) -> None:
        """End all jobs, as interrupted. They have so many seconds to store what they have."""
        with self._changed:
            self._is_closing = True
            for entry in self._entries.values():
                if entry.job.state == "waiting":
                    self._end(entry, state="interrupted", problem=INTERRUPTED[entry.job.kind])
                elif entry.job.state == "running" and entry.course is not None:
                    entry.course.stop("interrupted", grace_s)
            self._changed.wait_for(lambda: not any(self._running()), grace_s + END_S)
            for entry in list(self._running()):
                self._end(entry, state="interrupted", problem=INTERRUPTED[entry.job.kind])
            self._store.close()

    def _begin_next(self) -> None:
        """Begin the jobs whose turn it is."""
        for entry in list(self._entries.values()):
            if self._is_closing or len(list(self._running())) >= self._most_at_once:
                return
            if entry.job.state == "waiting" and not self._is_written(entry.job):
                entry.job = replace(entry.job, state="running", started=_now())
                self._store.keep(entry.job)
                # A daemon, for a service that ends waits for no thread: `close` has told them all to end.
                arguments = (entry, entry.work, entry.course)
                name = f"{entry.job.kind} job"
                threading.Thread(target=self._run, args=arguments, name=name, daemon=True).start()

    def _is_written(self, job: Job) -> bool:
        """Tell whether the job writes to a gallery that another one is writing to."""
        writing = {entry.job.gallery for entry in self._running() if entry.job.kind in WRITING}
        return job.kind in WRITING and job.gallery in writing

    def _running(self) -> Iterator[_Entry]:
        return (entry for entry in self._entries.values() if entry.job.state == "running")

    def _run(self, entry: _Entry, work: Work, course: Course) -> None:
        """Do the work of a job, in a thread of its own."""
        outcome = self._outcome(entry.job, work, course)
        with self._changed:
            if entry.job.state == "running":  # else `close` could not wait for it
                if outcome["state"] != "done":
                    self._store.empty(entry.job.id)
                self._end(entry, **outcome)
            self._begin_next()
            self._changed.notify_all()

    def _outcome(self, job: Job, work: Work, course: Course) -> dict[str, Any]:
        """Do the work, and return what the job becomes by it."""
        try:
            summary = work(course)
            return {"state": "done", "summary": summary, "files": self._store.made(job.id)}
        except Stopped as stopped:
            problem = INTERRUPTED[job.kind] if course.stopped_as == "interrupted" else ""
            return {"state": course.stopped_as, "summary": stopped.summary, "problem": problem}
        except ServiceError as error:
            problem = str(error)
        except MedSiglipSearchError as error:
            problem = told(str(error), {})
        except OSError as error:
            problem = (
                f"it could not go on: {(error.strerror or 'unknown error').lower()}; tell an administrator"
            )
        except Exception as error:
            # Its message may quote a file or a request.
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            log.error("%s job %s failed: %s at %s", job.kind, job.id, type(error).__name__, place)
            problem = f"it failed ({type(error).__name__}); start it again, or tell an administrator"
        return {"state": "failed", "problem": problem}

    def _hear(self, entry: _Entry, progress: Progress) -> None:
        with self._changed:
            if entry.job.state != "running":
                return
            if entry.course is not None and entry.course.is_stopped:
                progress = replace(progress, word="stopping", seconds_left=None)
            entry.job = replace(entry.job, progress=progress)
            if time.monotonic() - entry.kept >= KEEP_EVERY_S:
                entry.kept = time.monotonic()
                self._store.keep(entry.job)
            self._changed.notify_all()

    def _end(self, entry: _Entry, **outcome: Any) -> None:
        entry.job = replace(entry.job, ended=_now(), **outcome)
        entry.work = entry.course = None  # they hold what was uploaded
        self._store.keep(entry.job)
        self._changed.notify_all()

    def _entry(self, job_id: str) -> _Entry:
        if job_id not in self._entries:
            raise NotFound(
                "there is no such job, or it has been removed in the meantime; look at the list of jobs"
            )
        return self._entries[job_id]

    def _drop_expired(self) -> None:
        last = (datetime.now(UTC) - self._keep).isoformat()
        for job in [entry.job for entry in self._entries.values()]:
            if job.ended is not None and job.ended < last:
                del self._entries[job.id]
                self._store.remove(job.id)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
