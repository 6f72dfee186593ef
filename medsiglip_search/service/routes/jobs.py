"""Jobs over HTTP: long work is begun with 202, looked at, listened to and cancelled here."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Query, Response, UploadFile
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, Field

from medsiglip_search.service.jobs import Job, Kind, State
from medsiglip_search.service.jobs.index_job import IndexRequest
from medsiglip_search.service.operations import working
from medsiglip_search.service.routes.requests import Body, TheCaller, TheService, remember_sent

router = APIRouter(prefix="/v1", tags=["jobs"], dependencies=[Depends(remember_sent)])


class ProgressJson(BaseModel):
    """done of total, null while that is not known; a word on it; the time left in seconds."""

    done: int
    total: int | None
    word: str
    seconds_left: float | None


class JobFileJson(BaseModel):
    name: str
    media_type: str
    size_bytes: int
    href: str


class JobJson(BaseModel):
    """One run of long work. summary: what its command ends with under --json. problem: why it is not done."""

    id: str
    kind: Kind
    gallery: str
    owner: str
    state: State
    created: str
    started: str | None
    ended: str | None
    progress: ProgressJson
    summary: dict[str, Any]
    problem: str
    files: list[JobFileJson]


class JobsJson(BaseModel):
    """The newest first. cursor: asks for the next page; null after the last."""

    jobs: list[JobJson]
    cursor: str | None


class IndexRunRequest(Body):
    """archives: names that the service knows. prune, retry_rejected: as of the command index."""

    archives: list[str] = Field(max_length=100)
    prune: bool = False
    retry_rejected: bool = False


def accepted(job: Job, response: Response) -> JobJson:
    """Return a job that was started, with its address in Location."""
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_json(job)


def job_json(job: Job) -> JobJson:
    """Return a job as JSON has it, with the addresses of its files."""
    files = [{**asdict(one), "href": f"/v1/jobs/{job.id}/files/{one.name}"} for one in job.files]
    return JobJson.model_validate({**asdict(job), "owner": job.owner_name, "files": files})


def require_seen(job_id: str, service: TheService, caller: TheCaller) -> None:
    """Raise NotFound before an answer begins for a job that the caller may not see."""
    working.job(service, caller, job_id)


@router.post("/galleries/{gallery}/index-runs", status_code=202)
def start_index_run(
    gallery: str, asked: IndexRunRequest, service: TheService, caller: TheCaller, response: Response
) -> JobJson:
    """Bring a gallery up to date with its archives. Needs the role admin."""
    request = IndexRequest(tuple(asked.archives), asked.prune, asked.retry_rejected)
    return accepted(working.start_index(service, caller, gallery, request), response)


@router.post("/galleries/{gallery}/evaluations", status_code=202)
def start_evaluation(
    gallery: str,
    truth: Annotated[UploadFile, File(description="A truth table, CSV; see docs/evaluation.md.")],
    service: TheService,
    caller: TheCaller,
    response: Response,
    label_sets: Annotated[list[str] | None, Form(description="Names of those that come along.")] = None,
    retrieval: Annotated[bool, Form(description="Whether search is evaluated, too.")] = True,
) -> JobJson:
    """Measure how good labels and search are on a gallery, against a truth table. Needs the role labeller."""
    job = working.start_evaluation(
        service, caller, gallery, truth.file.read(), tuple(label_sets or ()), retrieval
    )
    return accepted(job, response)


@router.get("/jobs")
def list_jobs(
    service: TheService,
    caller: TheCaller,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
    count: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JobsJson:
    """List your jobs; an administrator's list has everybody's."""
    page = working.jobs(service, caller, cursor, count)
    return JobsJson(jobs=[job_json(one) for one in page.jobs], cursor=page.cursor)


@router.get("/jobs/{job_id}")
def describe_job(job_id: str, service: TheService, caller: TheCaller) -> JobJson:
    """Tell how a job goes, or what became of it."""
    return job_json(working.job(service, caller, job_id))


@router.delete("/jobs/{job_id}", status_code=202)
def cancel_job(job_id: str, service: TheService, caller: TheCaller) -> JobJson:
    """Tell a job to end. It stays in the list; what an index run has stored until then is kept."""
    return job_json(working.cancel(service, caller, job_id))


@router.get("/jobs/{job_id}/events", response_class=EventSourceResponse, dependencies=[Depends(require_seen)])
async def follow_job(job_id: str, service: TheService, caller: TheCaller) -> AsyncIterator[JobJson]:
    """Send the job whenever it has changed, until it has ended (server-sent events)."""
    async for job in working.changes(service, caller, job_id):
        yield job_json(job)


@router.get("/jobs/{job_id}/files/{name}", response_class=FileResponse)
def download(job_id: str, name: str, service: TheService, caller: TheCaller) -> FileResponse:
    """Download a file that a job has made. Needs the role labeller."""
    listed, path = working.file(service, caller, job_id, name)
    return FileResponse(path, media_type=listed.media_type, filename=listed.name)
