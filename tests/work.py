"""How much a call does, counted in function calls: as many on a busy machine as on an idle one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class Work:
    """calls: of Python functions and of C ones; the latter count once, however long they take."""

    calls: int = 0


@contextmanager
def at_most(calls: int) -> Iterator[Work]:
    """Count what this thread does, and fail as soon as that is more.

    Bounds leave room for other versions of libraries: what they rule out is many times as much.
    """
    work = Work()

    def count(frame: FrameType, event: str, argument: object) -> None:
        work.calls += event in ("call", "c_call")
        # Not only at the end, which may be hours away.
        assert work.calls <= calls, f"more than {calls} calls"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield work
    finally:
        sys.setprofile(before)
        # Once more: what was raised on the way may have been caught there.
        assert work.calls <= calls, f"more than {calls} calls"
