"""How far a run is, how fast it goes, and how long it will take."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from indexer.listing import Listing

# The rate is that of the last so many seconds: pictures of one kind often come together.
RATE_SECONDS = 30.0
TOLD_PER_SKIPPED = 256


@dataclass(slots=True)
class Counts:
    """What a run has done so far; it counts on, this one value is not frozen.

    files: done with, whatever came of them. skipped: those of them that were not opened.
    embedded: frames with an embedding; stored: those of them that are committed.
    unchanged, replaced, removed: as in `IndexReport`.
    out_of_reach: embedded files that could not be read now.
    bared: files read anew that had a row of a table, which this run does not have.
    """

    files: int = 0
    skipped: int = 0
    embedded: int = 0
    stored: int = 0
    unchanged: int = 0
    replaced: int = 0
    removed: int = 0
    out_of_reach: int = 0
    bared: int = 0

    @property
    def read(self) -> int:
        """Files that were opened and are done with."""
        return self.files - self.skipped


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `files` of `total` are done with; `embedded` frames so far.

    listed: whether `total` is all there are; until then the archives are still being listed.
    images_per_second: embedded lately. seconds_left: for the files that are still to be read, at the pace of
        those read lately; None while it cannot be told.
    """

    files: int
    total: int
    embedded: int
    listed: bool
    images_per_second: float
    seconds_left: float | None


class Meter:
    """Tells how far a run is."""

    def __init__(
        self,
        counts: Counts,
        listing: Listing,
        tell: Callable[[Progress], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._listing = listing
        self._tell = tell
        self._clock = clock
        # Time, files read, embedded; a second apart or more.
        self._lately: deque[tuple[float, int, int]] = deque()
        self._begin()

    def tell(self) -> None:
        """Tell how far the run is now."""
        counts, listing = self._counts, self._listing
        # In this order: a listing that ends in between must not leave a total that is too small.
        listed, total, to_read = listing.is_complete, listing.total, listing.to_read
        files_per_second, images_per_second = self._rates()
        seconds: float | None = None
        if listed and (left := to_read - counts.read) == 0:
            seconds = 0.0
        elif listed and files_per_second:
            seconds = left / files_per_second
        self._tell(Progress(counts.files, total, counts.embedded, listed, images_per_second, seconds))

    def skip(self) -> None:
        """Count a file that needs no reading; telling of each would take longer than the files do."""
        self._counts.files += 1
        self._counts.skipped += 1
        if self._counts.skipped % TOLD_PER_SKIPPED == 0:
            if self._lately[-1][1] == self._counts.read:
                self._begin()  # the time that skipping takes says nothing of reading
            self.tell()

    def _begin(self) -> None:
        self._lately.clear()
        self._lately.append((self._clock(), self._counts.read, self._counts.embedded))

    def _rates(self) -> tuple[float, float]:
        """Return files read and images per second of late, 0 at the start."""
        now, counts, lately = self._clock(), self._counts, self._lately
        if now - lately[-1][0] >= 1:
            lately.append((now, counts.read, counts.embedded))
        while len(lately) > 1 and now - lately[1][0] >= RATE_SECONDS:
            lately.popleft()
        since, files, embedded = lately[0]
        seconds = now - since
        if seconds <= 0:
            return 0.0, 0.0
        return (counts.read - files) / seconds, (counts.embedded - embedded) / seconds
