"""Who did what, when and from where: records that nobody can change, take out or put in unseen.

    event -> AuditLog (waits for the disk) -> audit.jsonl, audit.head -> verify, records

Each line of audit.jsonl holds the hash of the line before, and its own; audit.head holds the last one's, so
that a log that was cut short is told as well. Whoever may write both files can make up another history from
some line on: what protects against that is a copy of audit.head, kept elsewhere.

Modules: `record` (an event, and what the log has of it), `chain` (line after line), `head`, `file` (what is
on the disk), `log` (threads that wait for it), `checking`, `reading`.
"""

from medsiglip_search.service.audit.checking import Verification, verify
from medsiglip_search.service.audit.log import AuditLog, Entry
from medsiglip_search.service.audit.reading import records
from medsiglip_search.service.audit.record import Action, Event, Outcome, Record

__all__ = ["Action", "AuditLog", "Entry", "Event", "Outcome", "Record", "Verification", "records", "verify"]
