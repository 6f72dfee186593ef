"""Jobs in words and figures, as the pages tell them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from medsiglip_search.service.jobs import Job, State
from ui.templates import html

KINDS = {"index": "Index", "label": "Label", "evaluate": "Evaluate"}
ENDING = "stopping"
"""The word of the progress of a job that was told to end."""

STATES: Mapping[State, str] = {
    "waiting": "waits for its turn",
    "running": "running",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "interrupted": "interrupted",
}


def progress(job: Job) -> str:
    """Return how far a job is: its state, a bar with words, and the button to cancel it while it goes on."""
    return html("job_progress.html", job=told(job))


def told(job: Job) -> dict[str, Any]:
    """Return what templates tell of a job."""
    now = job.progress
    is_ending = job.state == "running" and now.word == ENDING
    share = now.done / now.total if now.total else None
    return {
        "id": job.id,
        "kind": KINDS[job.kind],
        "gallery": job.gallery,
        "owner": job.owner_name,
        "state": job.state,
        "word": "ending …" if is_ending else STATES[job.state],
        "has_ended": job.has_ended,
        "is_ending": is_ending,
        "created": moment(job.created),
        "percent": None if share is None else round(100 * min(1.0, share)),
        "progress": _progress_words(job),
        "problem": job.problem,
        "files": [
            (one.name, f"/v1/jobs/{job.id}/files/{one.name}", size(one.size_bytes)) for one in job.files
        ],
    }


def moment(text: str) -> str:
    """Return a time as people read it, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def size(size_bytes: int) -> str:
    """Return a size in kB or MB."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{max(1, round(size_bytes / 1e3))} kB"


def time_left(seconds: float) -> str:
    """Return how long it will go on, roughly."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s left"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min left"
    return f"{seconds / 3600:.1f} h left"


def _progress_words(job: Job) -> str:
    now = job.progress
    if job.state == "running" and now.word == ENDING:
        return "what it has done is being stored" if job.kind == "index" else "nothing of it is kept"
    if job.state == "waiting":
        return "begins when the jobs before it have ended"
    of = "" if now.total is None else f"{now.done:,} of {now.total:,}"
    left = "" if now.seconds_left is None or job.has_ended else time_left(now.seconds_left)
    return ", ".join(word for word in (of, now.word, left) if word) or "begins"
