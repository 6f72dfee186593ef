"""The file beside the log that says where it ends."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from medsiglip_search import files
from medsiglip_search.service.audit.chain import START, Broken, End

HEAD = "audit.head"
BYTES = 160
"""Always the same, and within a disk's sector: it is written over in one piece, on a full disk too."""


def create(folder: Path) -> None:
    """Write the head of a log that holds nothing. Raises OSError."""
    files.write_file(folder / HEAD, _content(START), mode=0o600)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)  # the names of both files
    finally:
        os.close(descriptor)


def read(folder: Path) -> End:
    """Return where the log should end. Raises Broken, FileNotFoundError, OSError."""
    content = (folder / HEAD).read_bytes()
    try:
        end = End(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        raise Broken(f"{HEAD} was changed") from None
    if content != _content(end) or not isinstance(end.seq, int) or not isinstance(end.size, int):
        raise Broken(f"{HEAD} was changed")
    return end


def write(folder: Path, end: End) -> None:
    """Say where the log ends now, on the disk. Raises OSError."""
    descriptor = os.open(folder / HEAD, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, _content(end), 0)
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _content(end: End) -> bytes:
    return json.dumps(asdict(end)).ljust(BYTES - 1).encode() + b"\n"
