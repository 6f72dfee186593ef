"""The keys of the service: who may come in, as what, and until when."""

import os
import pwd
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medsiglip_search.commands.options import AsJson, State
from medsiglip_search.commands.output import print_cells, print_json, print_lines
from medsiglip_search.errors import AuditUnavailable, InvalidQuery
from medsiglip_search.service.callers import Role
from medsiglip_search.terminal import note

if TYPE_CHECKING:
    from medsiglip_search.service.access.keys import Key
    from medsiglip_search.service.audit import AuditLog

DEFAULT_DAYS, MOST_DAYS = 90, 3650
HEADER = ("id", "name", "role", "galleries", "created", "expires", "state")

keys = typer.Typer(help="The keys of the service: add, list, revoke. A running service sees changes at once.")


@keys.command()
def add(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the person or program, as the audit shows it.")
    ],
    role: Annotated[
        Role,
        typer.Option(
            help="reader searches; labeller also labels and exports; admin also indexes and deletes."
        ),
    ],
    state: State,
    gallery: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only the gallery that is served by this name; repeatable."),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_DAYS, help=f"Until it expires; {DEFAULT_DAYS} by default."),
    ] = None,
    never_expires: Annotated[
        bool, typer.Option("--never-expires", help="Valid until it is revoked.")
    ] = False,
) -> None:
    """Make a key and print it: this once, for it is not kept."""
    from medsiglip_search.service.access.keys import KeyStore
    from medsiglip_search.service.audit import AuditLog

    if never_expires and days is not None:
        raise InvalidQuery("--days and --never-expires exclude each other; give one of them")
    expires = None if never_expires else datetime.now(UTC) + timedelta(days=days or DEFAULT_DAYS)
    audit, store = AuditLog(state), KeyStore(state)
    key, text = store.add(name, role, gallery, expires)
    try:
        _record(audit, "key_added", key)
    except AuditUnavailable:
        store.revoke(key.id)
        raise
    print_lines([text])
    until = "never expires" if key.expires is None else f"expires on {key.expires:%Y-%m-%d}"
    note(f"Key {key.id} {until}. It is shown this once: hand it over now, and keep it like a password.")


@keys.command("list")
def list_(state: State, as_json: AsJson = False) -> None:
    """List all keys, with those that have expired or were revoked; none can be shown again."""
    from medsiglip_search.service.access.keys import KeyStore

    found = KeyStore(state).keys()
    now = datetime.now(UTC)
    if as_json:
        print_json(_json(key, now) for key in found)
    elif found:
        print_cells([HEADER, *(_cells(key, now) for key in found)])
    else:
        print_lines(["no keys yet"])


@keys.command()
def revoke(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As list has it.")],
    state: State,
) -> None:
    """End a key, and every session that began with it, at once."""
    from medsiglip_search.service.access.keys import KeyStore
    from medsiglip_search.service.audit import AuditLog

    # First of all, also where the audit cannot be written: a key in wrong hands must end.
    key = KeyStore(state).revoke(id_)
    _record(AuditLog(state), "key_revoked", key)
    note(f"Key {key.id} is revoked.")


def _record(audit: "AuditLog", action: Literal["key_added", "key_revoked"], key: "Key") -> None:
    """Write down what was done with a key, and by which user of this machine. Raises AuditUnavailable."""
    from medsiglip_search.service.audit import Event
    from medsiglip_search.service.callers import Caller, Principal

    caller = Caller(
        Principal(_user(), "admin", credential="command line"), address="local", request_id="none"
    )
    details = {"name": key.name, "role": key.role, "expires": _moment(key.expires)}
    audit.record(Event(action, caller, subjects=[key.id], details=details))


def _user() -> str:
    """Return the user's name as the system knows it, whatever the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container, as a number that has no name
        return f"uid {os.getuid()}"


def _json(key: "Key", now: datetime) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "galleries": key.galleries,
        "created": _moment(key.created),
        "expires": _moment(key.expires),
        "revoked": _moment(key.revoked),
        "state": _state(key, now),
    }


def _cells(key: "Key", now: datetime) -> tuple[str, ...]:
    galleries = "all" if key.galleries is None else " ".join(key.galleries)
    expires = "never" if key.expires is None else f"{key.expires:%Y-%m-%d}"
    return key.id, key.name, key.role, galleries, f"{key.created:%Y-%m-%d}", expires, _state(key, now)


def _state(key: "Key", now: datetime) -> Literal["valid", "expired", "revoked"]:
    if key.revoked is not None:
        return "revoked"
    return "expired" if key.has_expired(now) else "valid"


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
