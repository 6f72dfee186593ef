"""What stands between a job and its work: progress one way, the wish that it ends the other way."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from medsiglip_search.service.jobs import Progress

StoppedAs = Literal["cancelled", "interrupted"]


class Stopped(Exception):
    """Raised by work that ends before it is done. summary: what it came to until then."""

    def __init__(self, summary: Mapping[str, Any] | None = None) -> None:
        super().__init__("stopped")
        self.summary = summary or {}


class Course:
    """How one job goes, as its work sees it.

    folder: the job's own. files: the folder in it for what the user may download.
    stopped_as: what a job that is told to end becomes; "interrupted" if nobody told it.
    """

    def __init__(self, folder: Path, hear: Callable[[Progress], None]) -> None:
        """hear: is told each progress."""
        self.folder = folder
        self.files = folder / "files"
        self.stopped_as: StoppedAs = "interrupted"
        self._hear = hear
        self._lock = threading.Lock()
        self._is_stopped = False
        self._grace_s = 0.0
        self._end: Callable[[float], None] = lambda grace_s: None

    @property
    def is_stopped(self) -> bool:
        """Whether the work is to end."""
        return self._is_stopped

    def tell(self, done: int, total: int | None, word: str, seconds_left: float | None = None) -> None:
        """Tell how far the work is."""
        self._hear(Progress(done, total, word, seconds_left))

    def require_wanted(self) -> None:
        """Raise Stopped if the work is to end."""
        if self._is_stopped:
            raise Stopped

    def when_stopped(self, end: Callable[[float], None]) -> None:
        """Have `end` called with the seconds there are for it when the work is to end: now if it is."""
        with self._lock:
            self._end = end
            if self._is_stopped:
                end(self._grace_s)

    def stop(self, stopped_as: StoppedAs, grace_s: float) -> None:
        """Tell the work to end within so many seconds. Who says so first decides what the job becomes."""
        with self._lock:
            if not self._is_stopped:
                self.stopped_as = stopped_as
            self._is_stopped, self._grace_s = True, grace_s
            self._end(grace_s)


Work = Callable[[Course], Mapping[str, Any]]
"""Does a job and returns its summary. Raises Stopped, ServiceError with what a user may read, OSError."""
