"""Jobs: runs of index and evaluate begun, all kinds seen, cancelled, and their files fetched."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio

from medsiglip_search.errors import Gone, InvalidTruth, NotFound
from medsiglip_search.evaluate.run import Settings
from medsiglip_search.service.audit import Event
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.jobs import Job, JobFile
from medsiglip_search.service.jobs.evaluate_job import EvaluateWork
from medsiglip_search.service.jobs.index_job import IndexRequest, index_work

LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class JobsPage:
    """Some of the jobs, the newest first. cursor: asks for the next ones; None after the last."""

    jobs: tuple[Job, ...]
    cursor: str | None


def start_index(service: Service, caller: Caller, name: str, request: IndexRequest) -> Job:
    """Start indexing archives that the service knows, and return the job.

    Raises NotFound, Forbidden, InvalidQuery if no archive is named, Conflict, Unavailable.
    """
    with service.audit.watch(caller, "index", name) as entry:
        gallery = service.gallery(caller, name)
        caller.require("admin")
        settings = service.settings
        work = index_work(request, name, gallery.path, settings.archives, settings.device)
        entry.details.update(archives=" ".join(work.archives), prune=request.prune)
        entry.asked()
        job = service.jobs.start("index", name, caller.principal.owner, work)
        entry.subjects = [job.id]
        return job


def start_evaluation(
    service: Service,
    caller: Caller,
    name: str,
    table: bytes,
    label_sets: tuple[str, ...] = (),
    retrieval: bool = True,
) -> Job:
    """Start evaluating a gallery, and return the job.

    table: a truth table, CSV; see `read_truth`. label_sets: names of shipped ones. retrieval: whether search
    is evaluated, too. Raises NotFound, Unavailable, Forbidden, InvalidTruth, InvalidQuery, Conflict.
    """
    with service.audit.watch(caller, "evaluate", name) as entry:
        gallery = service.gallery(caller, name)
        caller.require("labeller")
        _require_text(table)
        encoder = gallery.view.searcher.encoder
        settings = Settings(retrieval=retrieval)
        work = EvaluateWork(name, gallery.path, encoder, table, label_sets, settings=settings)
        entry.details["label_sets"] = " ".join(label_sets)
        entry.asked()
        job = service.jobs.start("evaluate", name, caller.principal.owner, work)
        entry.subjects = [job.id]
        return job


def jobs(service: Service, caller: Caller, cursor: str | None = None, count: int = 50) -> JobsPage:
    """Return the caller's jobs, an administrator's all. Raises Gone if the cursor's job is there no more."""
    seen = [job for job in service.jobs.jobs() if _may_see(caller, job)]
    start = 0
    if cursor is not None:
        places = [place for place, job in enumerate(seen) if job.id == cursor]
        if not places:
            raise Gone("the list of jobs has changed; ask for it again without a cursor")
        start = places[0] + 1
    page = seen[start : start + count]
    service.record_seldom(Event("jobs", caller, details={"jobs": len(page)}))
    return JobsPage(tuple(page), page[-1].id if start + count < len(seen) else None)


def job(service: Service, caller: Caller, job_id: str) -> Job:
    """Return a job as it is now. Raises NotFound for another user's, too."""
    found = service.jobs.job(job_id)
    if not _may_see(caller, found):
        raise NotFound(
            "there is no such job, or it has been removed in the meantime; look at the list of jobs"
        )
    return found


def cancel(service: Service, caller: Caller, job_id: str) -> Job:
    """Tell a job to end, and return it as it is now; one that has ended stays so. Raises NotFound."""
    with service.audit.watch(caller, "cancel", _gallery_of(service, job_id)) as entry:
        found = job(service, caller, job_id)
        entry.subjects = [found.id]
        entry.asked()
        return service.jobs.cancel(found.id)


def file(service: Service, caller: Caller, job_id: str, name: str) -> tuple[JobFile, Path]:
    """Return a file that a job has made, and where it is. Raises NotFound, Forbidden."""
    with service.audit.watch(caller, "export", _gallery_of(service, job_id)) as entry:
        found = job(service, caller, job_id)
        entry.subjects = [found.id]
        caller.require("labeller")
        path = service.jobs.file(found.id, name)
        [listed] = [one for one in found.files if one.name == name]
        entry.details.update(file=listed.name, bytes=listed.size_bytes)
        return listed, path


async def changes(service: Service, caller: Caller, job_id: str) -> AsyncIterator[Job]:
    """Yield a job as it is now and whenever it has changed, until it has ended. Raises NotFound.

    It is looked at, and no thread waits for it: threads are few, and whoever listens may listen for hours.
    """
    told = None
    while True:
        now = job(service, caller, job_id)
        if now != told:
            yield now
        if now.has_ended:
            return
        told = now
        await anyio.sleep(LOOK_EVERY_S)


def _may_see(caller: Caller, job: Job) -> bool:
    principal = caller.principal
    return principal.may_use(job.gallery) and (job.owner == principal.owner or principal.may("admin"))


def _gallery_of(service: Service, job_id: str) -> str | None:
    """Return whose gallery a job is about, None if there is no such job."""
    try:
        return service.jobs.job(job_id).gallery
    except NotFound:
        return None


def _require_text(table: bytes) -> None:
    """Raise InvalidTruth for a file that is no table at all, before a job is made of it."""
    try:
        text = table.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidTruth("the table is not UTF-8 text; save it as CSV in UTF-8") from None
    if not text.strip() or "\0" in text:
        raise InvalidTruth("the table holds no text; save it as CSV in UTF-8")
