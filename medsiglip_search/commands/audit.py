"""The service's audit: what it holds, and whether it is as it was written."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from medsiglip_search.commands.options import AsJson, State
from medsiglip_search.commands.output import print_cells, print_json, print_lines
from medsiglip_search.errors import InvalidQuery, MedSiglipSearchError
from medsiglip_search.terminal import counted

if TYPE_CHECKING:
    from medsiglip_search.service.audit import Record, Verification

HEADER = ("time", "who", "role", "from", "action", "gallery", "outcome", "subjects", "details")
SHOWN_SUBJECTS = 5

audit = typer.Typer(help="Who did what with the service: show it, and check that nobody has changed it.")


@audit.command()
def verify(state: State, as_json: AsJson = False) -> None:
    """Check that every record of the audit is as it was written.

    Exits with 1 and names the first that is not: changed, added, moved, or taken out.
    """
    from medsiglip_search.service.audit import verify as verify_audit

    verification = verify_audit(state)
    if as_json:
        print_json([asdict(verification)])
    else:
        print_lines(_lines(verification))
    if verification.problems:
        raise typer.Exit(MedSiglipSearchError.exit_code)


@audit.command()
def show(
    state: State,
    who: Annotated[str | None, typer.Option(help="Only of this person or program.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this, such as search, export, login.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not before 2026-03-01, or 2026-03-01T08:30; UTC.")
    ] = None,
    last: Annotated[int | None, typer.Option(min=1, help="Only so many, the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is in the audit, oldest first."""
    from medsiglip_search.service.audit import Action, records

    if action is not None and action not in get_args(Action):
        raise InvalidQuery(f"--action: there is none of this name; try {', '.join(get_args(Action))}")
    found = records(
        state,
        who=who,
        action=action,  # type: ignore[arg-type]
        since=None if since is None else _moment(since),
        last=last,
    )
    if as_json:
        print_json(map(_json, found))
        return
    rows: list[tuple[str, ...]] = [HEADER]
    try:
        rows.extend(map(_cells, found))
    finally:
        print_cells(rows)


def _lines(verification: "Verification") -> list[str]:
    count = counted(verification.records, "record")
    period = f", {verification.first} to {verification.last}" if verification.records else ""
    if verification.problems:
        return [*verification.problems, f"whole before it: {count}{period}"]
    cut = verification.unfinished_bytes
    return [
        f"{count}, all whole{period}",
        *([f"{counted(cut, 'byte')} of one that was never finished"] if cut else []),
    ]


def _moment(text: str) -> datetime:
    """Return the moment that a text names; without a time zone that of UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidQuery("--since: no time; write it as 2026-03-01 or 2026-03-01T08:30") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _json(record: "Record") -> dict[str, Any]:
    """Return a record under the names that it has in the log."""
    return {"from" if name == "address" else name: value for name, value in asdict(record).items()}


def _cells(record: "Record") -> tuple[str, ...]:
    subjects = [*record.subjects[:SHOWN_SUBJECTS]]
    if len(record.subjects) > SHOWN_SUBJECTS:
        subjects.append(f"and {len(record.subjects) - SHOWN_SUBJECTS} more")
    return (
        record.time,
        record.who,
        record.role,
        record.address,
        record.action,
        record.gallery or "",
        record.outcome,
        " ".join(subjects),
        " ".join(f"{name}={value}" for name, value in record.details.items()),
    )
