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
    """

    files: int = 0
    skipped: int = 0
    embedded: int = 0
    stored: int = 0
    unchanged: int = 0
    replaced: int = 0
    removed: int = 0
    out_of_reach: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `files` of `total` are done with; `embedded` frames so far.

    listed: whether `total` is all there are; until then the archives are still being listed.
    images_per_second: embedded lately. seconds_left: at the pace of late, None while it cannot be told.
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
        # Time, files, embedded; a second apart or more.
        self._lately: deque[tuple[float, int, int]] = deque([(clock(), 0, 0)])

    def tell(self) -> None:
        """Tell how far the run is now."""
        counts, listing = self._counts, self._listing
        # In this order: a listing that ends in between must not leave a total that is too small.
        listed, total = listing.is_complete, listing.total
        files_per_second, images_per_second = self._rates()
        left = (total - counts.files) / files_per_second if listed and files_per_second else None
        self._tell(Progress(counts.files, total, counts.embedded, listed, images_per_second, left))

    def skip(self) -> None:
        """Count a file that needs no reading; telling of each would take longer than the files do."""
        self._counts.files += 1
        self._counts.skipped += 1
        if self._counts.skipped % TOLD_PER_SKIPPED == 0:
            self.tell()

    def _rates(self) -> tuple[float, float]:
        """Return files and images per second of late, 0 at the start."""
        now, counts, lately = self._clock(), self._counts, self._lately
        if now - lately[-1][0] >= 1:
            lately.append((now, counts.files, counts.embedded))
        while len(lately) > 1 and now - lately[1][0] >= RATE_SECONDS:
            lately.popleft()
        since, files, embedded = lately[0]
        seconds = now - since
        if seconds <= 0:
            return 0.0, 0.0
        return (counts.files - files) / seconds, (counts.embedded - embedded) / seconds
