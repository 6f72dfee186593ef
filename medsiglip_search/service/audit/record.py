"""What the audit notes, and how one record is written on its line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from medsiglip_search.service.callers import Caller, Role

Action = Literal[
    "login",
    "logout",
    "refused",
    "search",
    "facets",
    "browse",
    "thumbnail",
    "picture",
    "heatmap",
    "metadata",
    "upload",
    "contents",
    "rejected",
    "label",
    "review",
    "export",
    "explain",
    "map",
    "jobs",
    "index",
    "evaluate",
    "cancel",
    "delete",
    "key_added",
    "key_revoked",
    "mended",
]
"""refused: at the door. contents: what galleries hold. jobs: a list of them. mended: by the audit itself,
which took off a record that a killed process had half written."""

Outcome = Literal["done", "refused", "failed"]
"""refused: the caller may not, or there is no such thing. failed: it ended otherwise without a result."""

Detail = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done, or was not.

    subjects: what it was done to: image ids, pseudonyms, job ids. details: a few words and counts, never the
    text of a query, a path or what a file holds.
    """

    action: Action
    caller: Caller
    gallery: str | None = None
    subjects: Sequence[str] = ()
    details: Mapping[str, Detail] = field(default_factory=dict)
    outcome: Outcome = "done"


@dataclass(frozen=True, slots=True)
class Record:
    """A line of the audit. seq: from 1 on. time: UTC, ISO 8601. previous: the hash of the record before."""

    seq: int
    time: str
    who: str
    credential: str
    role: Role
    address: str
    request_id: str
    action: Action
    gallery: str | None
    subjects: tuple[str, ...]
    details: dict[str, Detail]
    outcome: Outcome
    previous: str
    hash: str


def timestamp(moment: datetime) -> str:
    """Return a moment in UTC, to the millisecond, so that texts are in the order of what they name."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_of(event: Event) -> str:
    """Return an event as a record holds it beside number, time and hashes: JSON without its braces.

    Raises TypeError, ValueError for what has no place in JSON.
    """
    principal = event.caller.principal
    fields = {
        "who": principal.name,
        "credential": principal.credential,
        "role": principal.role,
        "from": event.caller.address,
        "request_id": event.caller.request_id,
        "action": event.action,
        "gallery": event.gallery,
        "subjects": list(event.subjects),
        "details": dict(event.details),
        "outcome": event.outcome,
    }
    # In ASCII: no character of a name can end the line, nor reach a terminal.
    return json.dumps(fields, separators=(",", ":"), allow_nan=False)[1:-1]


def read_record(line: bytes) -> Record:
    """Return the record that a line holds; its hashes are not checked. Raises ValueError if it is none."""
    try:
        fields = json.loads(line)
        fields["address"] = fields.pop("from")
        fields["subjects"] = tuple(fields["subjects"])
        return Record(**fields)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("no record of the audit") from error
