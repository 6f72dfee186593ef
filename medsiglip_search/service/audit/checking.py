"""Whether the audit is as it was written."""

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from medsiglip_search.service.audit import chain, head
from medsiglip_search.service.audit.chain import START, Broken, End
from medsiglip_search.service.audit.file import GROUP, LOG
from medsiglip_search.service.audit.reading import opened
from medsiglip_search.service.audit.record import read_record


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found of an audit.

    records: how many are whole, before the first that is not. first, last: their times. unfinished_bytes: of
    a record that a killed process did not finish, which nobody was told of: no damage. problems: the first
    bad record, or what is wrong with a file; none if all is as it was written.
    """

    records: int
    first: str | None
    last: str | None
    unfinished_bytes: int
    problems: tuple[str, ...]


def verify(folder: Path) -> Verification:
    """Return what an audit holds, checked to the last byte; the service may go on writing.

    Raises AuditUnavailable if there is none, or if it cannot be read.
    """
    if (folder / head.HEAD).exists() and not (folder / LOG).exists():
        return Verification(0, None, None, 0, (f"{LOG} is gone",))
    with opened(folder) as log:
        told, size, problems = _at_one_moment(folder, log)
        end, first, last, unfinished = START, None, None, 0
        try:
            _require_agreement(end, told)
            for line in _lines(log, size):
                if not line.endswith(b"\n"):
                    unfinished = len(line)
                    break
                end = chain.follow(end, line)
                last = _time(end, line)
                first = first or last
                _require_agreement(end, told)
            _require_reached(end, told, unfinished)
        except Broken as broken:
            problems.insert(0, str(broken))
    return Verification(end.seq, first, last, unfinished, tuple(problems))


def _at_one_moment(folder: Path, log: BinaryIO) -> tuple[End | None, int, list[str]]:
    """Return what the head says, None if that is bad, the log's size and what is wrong. Raises OSError."""
    fcntl.flock(log, fcntl.LOCK_SH)  # no writer is then between the log and the head
    try:
        size = os.fstat(log.fileno()).st_size
        return head.read(folder), size, []
    except Broken as broken:
        return None, size, [str(broken)]
    except FileNotFoundError:
        # A process that was killed when it had just begun leaves this.
        return None, size, [f"{head.HEAD} is gone"] if size else []
    finally:
        fcntl.flock(log, fcntl.LOCK_UN)


def _lines(log: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the lines within the first `size` bytes."""
    while line := log.readline(size):
        yield line
        size -= len(line)


def _time(end: End, line: bytes) -> str:
    try:
        return read_record(line).time
    except ValueError:
        raise Broken(f"record {end.seq} is none of the audit's") from None


def _require_agreement(end: End, told: End | None) -> None:
    """Raise Broken if this is where the head says the log ends, and the head says something else of it."""
    if told is not None and end.seq == told.seq and end != told:
        raise Broken(f"record {end.seq} is not the one that {head.HEAD} names")


def _require_reached(end: End, told: End | None, unfinished: int) -> None:
    """Raise Broken unless the log goes as far as the head says, and no further than a kill can leave it."""
    if told is None:
        return
    if end.seq < told.seq:
        what = "is cut short" if unfinished else "is gone"
        raise Broken(f"record {end.seq + 1} {what}: {head.HEAD} names {told.seq} records")
    if end.seq > told.seq + GROUP:
        raise Broken(
            f"record {told.seq + 1} and those after it are not in {head.HEAD}, which is an older one"
        )
