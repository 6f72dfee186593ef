"""Where the service and the commands write down what was done."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from medsiglip_search.errors import AuditUnavailable, Forbidden, NotFound, TooManyRequests, Unauthenticated
from medsiglip_search.service.audit.chain import Broken
from medsiglip_search.service.audit.file import GROUP, LogFile
from medsiglip_search.service.audit.record import Action, Detail, Event, Outcome, text_of, timestamp
from medsiglip_search.service.callers import Caller, Principal

REFUSALS = (Forbidden, NotFound, TooManyRequests, Unauthenticated)

ITSELF = Caller(Principal("audit", "admin"), address="local", request_id="none")


@dataclass
class Entry:
    """What an operation says of itself while it runs; the fields are those of an event."""

    _log: "AuditLog"
    _caller: Caller
    _action: Action
    _gallery: str | None
    subjects: list[str] = field(default_factory=list)
    details: dict[str, Detail] = field(default_factory=dict)

    def asked(self) -> None:
        """Record that the operation is about to be done, with what is known of it until now.

        Whatever changes something calls it first: what cannot be written down is not done, and what was done
        by a service that was killed in between is there as asked for. Raises AuditUnavailable.
        """
        self._log.record(self.event("done", stage="asked"))

    def event(self, outcome: Outcome, **more: Detail) -> Event:
        """Return what the operation has said until now as an event."""
        details = {**self.details, **more}
        return Event(self._action, self._caller, self._gallery, list(self.subjects), details, outcome)


@dataclass(eq=False)
class _Waiting:
    """A record that a thread waits for. problem: why it could not be written."""

    text: str
    settled: bool = False
    problem: BaseException | None = None


class AuditLog:
    """The audit of a service's folder, for any number of threads and processes at once."""

    def __init__(self, folder: Path, galleries: Collection[str] | None = None) -> None:
        """folder: the service's own, made if missing. galleries: those that there are; None: any.

        Another name is what a client has made up, and stays out. Raises AuditUnavailable if nothing can be
        added.
        """
        self._galleries = galleries
        self._file = LogFile(folder, lambda count: _dated(_mended(count)))
        self._turn = threading.Condition()
        self._queue: list[_Waiting] = []
        self._is_writing = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file.append([])
        except (OSError, Broken) as error:
            raise _unavailable(error) from error

    def record(self, event: Event) -> None:
        """Return when the event is on the disk. Raises AuditUnavailable; it is then not recorded.

        One thread writes for all that wait, so that fifty threads do not wait for fifty turns of the disk.
        """
        mine = _Waiting(text_of(event))
        with self._turn:
            self._queue.append(mine)
        while self._must_write_for(mine):
            self._write_next()
        if mine.problem is not None:
            raise _unavailable(mine.problem) from mine.problem

    @contextmanager
    def watch(self, caller: Caller, action: Action, gallery: str | None = None) -> Iterator[Entry]:
        """Record an operation when it ends, however that is, with what it put into the entry until then.

        Its own error goes on. Raises AuditUnavailable in place of that error or of a result.
        """
        if self._galleries is not None and gallery not in self._galleries:
            gallery = None
        entry = Entry(self, caller, action, gallery)
        try:
            yield entry
        except REFUSALS:
            self.record(entry.event("refused"))
            raise
        except BaseException:  # a request that was broken off, too
            self.record(entry.event("failed"))
            raise
        self.record(entry.event("done"))

    def close(self) -> None:
        """Let go of the file when all that wait are done."""
        with self._turn:
            self._turn.wait_for(lambda: not self._is_writing)
            self._file.close()

    def _must_write_for(self, one: _Waiting) -> bool:
        """Wait until `one` is settled, or until it is this thread's turn to write; tell whether it is."""
        with self._turn:
            self._turn.wait_for(lambda: one.settled or not self._is_writing)
            self._is_writing = self._is_writing or not one.settled
            return not one.settled

    def _write_next(self) -> None:
        """Write what waits, in this thread, and give the turn away."""
        with self._turn:
            group, self._queue = self._queue[:GROUP], self._queue[GROUP:]
        problem: BaseException | None = None
        try:
            self._file.append([_dated(one.text) for one in group])
        except BaseException as error:
            problem = error
            if not isinstance(error, OSError | Broken):
                raise
        finally:
            with self._turn:
                for one in group:
                    one.settled, one.problem = True, problem
                self._is_writing = False
                self._turn.notify_all()


def _dated(text: str) -> str:
    return f'"time":"{timestamp(datetime.now(UTC))}",{text}'


def _mended(count: int) -> str:
    return text_of(Event("mended", ITSELF, details={"bytes_taken_off": count}))


def _unavailable(error: BaseException) -> AuditUnavailable:
    """Return what is told of a record that was not written: it goes to clients, and has no path."""
    if isinstance(error, Broken):
        return AuditUnavailable(
            f"the audit is damaged ({error}), and nothing is done without it; who runs the service should "
            "run audit verify, keep audit.jsonl and audit.head elsewhere, and start anew"
        )
    reason = error.strerror if isinstance(error, OSError) else type(error).__name__
    return AuditUnavailable(
        f"the audit cannot be written ({reason}), and nothing is done without it; who runs the service "
        "should see to the disk and the folder of its state"
    )
