"""The records of the audit, for people who look something up."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from medsiglip_search.errors import AuditUnavailable
from medsiglip_search.service.audit.file import LOG
from medsiglip_search.service.audit.record import Action, Record, read_record, timestamp


@contextmanager
def opened(folder: Path) -> Iterator[BinaryIO]:
    """Open the log to be read. Raises AuditUnavailable if there is none, or once it cannot be read."""
    try:
        with (folder / LOG).open("rb") as log:
            yield log
    except FileNotFoundError as error:
        raise AuditUnavailable(f"{folder}: no audit here; give the service's folder with --state") from error
    except OSError as error:
        raise AuditUnavailable(f"{folder}: the audit cannot be read ({error.strerror})") from error


def records(
    folder: Path,
    *,
    who: str | None = None,
    action: Action | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    last: int | None = None,
) -> Iterator[Record]:
    """Yield the records that fit all that is given, oldest first; nothing of them is verified.

    since, until: with their time zone; since itself is within, until is not. last: no more than so many, the
    newest. Raises AuditUnavailable if the log cannot be read, or at the end if a line of it was no record.
    """
    earliest, latest = (timestamp(moment) if moment else None for moment in (since, until))

    def fits(record: Record) -> bool:
        return (
            (who is None or record.who == who)
            and (action is None or record.action == action)
            and (earliest is None or record.time >= earliest)
            and (latest is None or record.time < latest)
        )

    unreadable: list[int] = []
    fitting = filter(fits, _read(folder, unreadable))
    yield from fitting if last is None else deque(fitting, maxlen=last)
    if unreadable:
        raise AuditUnavailable(f"{folder}: line {unreadable[0]} of the audit is no record; run audit verify")


def _read(folder: Path, unreadable: list[int]) -> Iterator[Record]:
    """Yield each record there is, and note the numbers of lines that hold none."""
    with opened(folder) as log:
        for number, line in enumerate(log, 1):
            if not line.endswith(b"\n"):
                return  # it is being written, or its writer was killed
            try:
                yield read_record(line)
            except ValueError:
                unreadable.append(number)
