"""Files that are there whole or not at all, whenever their writer is killed."""

import hashlib
import os
from pathlib import Path

UNFINISHED = ".unfinished"
"""The end of the name of a file that is being written, or was when its writer was killed."""


def write_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file that is there whole or not at all, and on the disk. Raises OSError."""
    unfinished = path.with_name(path.name + UNFINISHED)
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    os.replace(unfinished, path)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
