"""Long work that goes on beside requests: what one job is.

    request -> Jobs.start -> its turn, in a thread -> Work, which tells its Course -> files and a summary

Modules: `course` (between a job and its work), `running` (who runs them), `store` (what is kept on disk),
`telling` (what users may read), and the kinds: `index_job` with `index_child`, `label_job` with `uncertain`,
`evaluate_job`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["index", "label", "evaluate"]
State = Literal["waiting", "running", "done", "failed", "cancelled", "interrupted"]
"""waiting: for its turn. cancelled: by a user. interrupted: by the end of the service, or by the system."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: `done` of `total`, None while that is not known; a word on it, time left in s."""

    done: int = 0
    total: int | None = None
    word: str = ""
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class JobFile:
    """A file that a job made, to be downloaded."""

    name: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Job:
    """One run of long work.

    id: nobody can guess it. gallery: its name. owner: of the principal that started it.
    created, started, ended: ISO 8601, UTC. summary: what its command ends with under --json.
    problem: why it has not been done, and what to do next. files: of a job that is done.
    """

    id: str
    kind: Kind
    gallery: str
    owner: str
    state: State
    created: str
    started: str | None = None
    ended: str | None = None
    progress: Progress = Progress()
    summary: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    files: tuple[JobFile, ...] = ()

    @property
    def owner_name(self) -> str:
        """The name of whoever started it, as people know it; see `Principal.owner`."""
        return self.owner.rpartition(":")[2]

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state not in ("waiting", "running")
