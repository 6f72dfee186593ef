"""What goes to a service and what comes back, as Python has it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypedDict

Picture = Path | str | bytes
"""A picture to ask with: where its file is, or the bytes of that."""

Value = str | int | float | bool | None
GroupBy = Literal["image", "patient", "study", "series"]


class Question(TypedDict, total=False):
    """What to search for; all that is given counts.

    text: words. images: files of pictures, DICOM too, or their bytes. like, unlike: image_ids. study: all of
    one. without: words. where: a condition in SQL over the gallery's columns; filters: values that columns
    must have. group_by: the best hit of each. as_case: `images` are one patient's. other_patients: whether
    those of the query are left out. min_relevance: of hits, 0 to 1. top_k: hits of a page.
    """

    text: str
    images: Sequence[Picture]
    like: Sequence[int]
    unlike: Sequence[int]
    study: str
    without: Sequence[str]
    where: str
    filters: Mapping[str, Sequence[Value]]
    group_by: GroupBy
    as_case: bool
    other_patients: bool
    min_relevance: float
    top_k: int


@dataclass(frozen=True, slots=True)
class Result:
    """A page of hits, best first. matches: whether the best of them stands out of the gallery.

    notes: how the question was understood. cursor: asks for the next page; None after the last.
    """

    hits: tuple[Mapping[str, Any], ...]
    matches: bool
    notes: tuple[str, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Job:
    """A run of long work as it was when it was asked for.

    state: waiting, running, done, failed, cancelled or interrupted. done, total: how far it is; total is None
    while that is not known. problem: why it has not been done. files: names of what it has made.
    """

    id: str
    kind: str
    gallery: str
    state: str
    done: int
    total: int | None
    word: str
    summary: Mapping[str, Any]
    problem: str
    files: tuple[str, ...]

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state not in ("waiting", "running")


@dataclass(frozen=True, slots=True)
class Event:
    """A step of an explanation.

    kind: hits, waiting (another one comes first), piece (subject and text), or explanation, the last one.
    """

    kind: str
    data: Mapping[str, Any]


def result_of(document: Mapping[str, Any]) -> Result:
    """Return a page of hits from its JSON."""
    hits = tuple(MappingProxyType(hit) for hit in document["hits"])
    return Result(hits, document["matches"], tuple(document["notes"]), document["cursor"])


def job_of(document: Mapping[str, Any]) -> Job:
    """Return a job from its JSON."""
    progress = document["progress"]
    return Job(
        id=document["id"],
        kind=document["kind"],
        gallery=document["gallery"],
        state=document["state"],
        done=progress["done"],
        total=progress["total"],
        word=progress["word"],
        summary=document["summary"],
        problem=document["problem"],
        files=tuple(one["name"] for one in document["files"]),
    )
