"""What a run did: told to its caller, and kept in the gallery."""

import platform
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from types import TracebackType
from typing import Self

from indexer.known_files import KnownFiles
from indexer.listing import Listing
from indexer.progress import Counts
from medsiglip_search.errors import MedSiglipSearchError
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_writer import GalleryWriter
from medsiglip_search.records import Run, RunState

# What decides which rows a run makes, and how they are stored.
SOFTWARE = (
    "medsiglip-search",
    "torch",
    "transformers",
    "pylance",
    "numpy",
    "pillow",
    "pydicom",
    "imagecodecs",
)


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What a run did.

    embedded: frames stored with an embedding, be it one that the gallery held for the same pixels.
    unchanged: files whose embeddings still stand; replaced: files read anew because they or their row of the
        sidecar changed; removed: files that are gone and whose rows were dropped.
    rejected: files and frames of these archives that stand rejected now, whichever run tried them, by reason.
    """

    embedded: int
    unchanged: int
    replaced: int
    removed: int
    rejected: Mapping[str, int]
    seconds: float
    images_per_second: float


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after what was embedded has been committed."""

    def __init__(self, report: IndexReport) -> None:
        super().__init__("interrupted")
        self.report = report


def standing_rejections(gallery: Gallery, known: KnownFiles, listing: Listing) -> Counter[str]:
    """Return by reason how many files and frames of the archives stand rejected, gone ones left out."""
    found: Counter[str] = Counter()
    batches: Iterable[tuple[list, ...]] = gallery.rejected_batches("archive", "uri", "reason")
    for archive, uri, reason in chain.from_iterable(zip(*cells, strict=True) for cells in batches):
        is_gone = listing.is_through and known.is_missing((archive, uri))
        if archive in listing.sources and not is_gone:
            found[reason] += 1
    return found


class RecordedRun:
    """One run, noted in the gallery when it begins and again at its end, however it ends.

    To be used inside `with`, where Ctrl-C becomes Interrupted.
    report: what it did, once it has ended.
    """

    def __init__(
        self,
        writer: GalleryWriter,
        archives: Collection[str],
        counts: Counts,
        rejections: Callable[[], Mapping[str, int]],
    ) -> None:
        """Note what `counts` counts, and what `rejections` finds at the end."""
        self._writer = writer
        self._counts = counts
        self._rejections = rejections
        self._started = time.monotonic()
        gallery_version = writer.gallery.version
        self._run = Run(
            started=_now(),
            ended=None,
            state="running",
            archives=tuple(archives),
            embedded=0,
            unchanged=0,
            replaced=0,
            removed=0,
            rejected={},
            seconds=0.0,
            images_per_second=0.0,
            gallery_versions=(gallery_version, gallery_version),
            software=software(),
        )

    def __enter__(self) -> Self:
        self._writer.record_run(self._run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._end("done")
        elif isinstance(error, KeyboardInterrupt):
            self._end("interrupted")
            raise Interrupted(self.report) from None
        else:
            # What ended the run is to be told, not that it cannot be noted.
            with suppress(MedSiglipSearchError, OSError):
                self._end("failed")

    def _end(self, state: RunState) -> None:
        counts, seconds = self._counts, time.monotonic() - self._started
        self.report = IndexReport(
            embedded=counts.stored,
            unchanged=counts.unchanged,
            replaced=counts.replaced,
            removed=counts.removed,
            rejected=dict(self._rejections()),
            seconds=seconds,
            images_per_second=counts.stored / seconds,
        )
        before, _ = self._run.gallery_versions
        versions = before, self._writer.gallery.version
        ended = replace(
            self._run, ended=_now(), state=state, gallery_versions=versions, **asdict(self.report)
        )
        self._writer.record_run(ended)


def software() -> dict[str, str]:
    """Return the versions of what makes and stores the rows, by name."""
    found = {"python": platform.python_version()}
    for name in SOFTWARE:
        with suppress(PackageNotFoundError):  # used from a folder, without having been installed
            found[name] = version(name)
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
