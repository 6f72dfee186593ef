"""The processes that index for this one, and their end."""

import os
import select
from pathlib import Path


def index_processes() -> list[int]:
    """Return the processes that this one has started to index."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_text()
        except OSError:  # it has ended
            continue
        if parent == os.getpid() and "index_child" in command:
            found.append(int(folder.name))
    return found


def wait_for_end(descriptor: int, timeout_s: float) -> bool:
    """Tell whether the process of this pidfd ends within that time."""
    return bool(select.select([descriptor], [], [], timeout_s)[0])
