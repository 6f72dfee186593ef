"""Archives in, gallery out: list, read, embed, commit."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.batch import Batch
from indexer.reading import FileEnd, Job, read_files
from indexer.sidecar import NO_SIDECAR, Sidecar, is_joined, is_table, read_sidecar
from indexer.sources import Entry, Key, open_source
from medsiglip_search.encoders import Encoder
from medsiglip_search.errors import ArchiveNotFound, DecoderUnavailable
from medsiglip_search.gallery import Gallery, GalleryWriter
from medsiglip_search.identifiers import StoredIdentifiers, identifiers_for
from medsiglip_search.images.guard import Guard, Limits

FRAMES_PER_INSTANCE = 16
ROWS_AT_ONCE = 10_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What a run did.

    embedded: frames stored with an embedding, be it one that the gallery held for the same pixels.
    unchanged: files whose embeddings still stand; replaced: files read anew because they or their row of the
        sidecar changed; removed: files whose rows were dropped. None is: files that are gone keep theirs.
    rejected: files and frames of these archives that stand rejected now, whichever run tried them, by reason.
    """

    embedded: int
    unchanged: int
    replaced: int
    removed: int
    rejected: Mapping[str, int]
    seconds: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `files` of `total` are done with; `embedded` frames so far."""

    files: int
    total: int
    embedded: int


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after what was embedded has been committed."""

    def __init__(self, report: IndexReport) -> None:
        super().__init__("interrupted")
        self.report = report


def index_archives(
    gallery: Gallery,
    archives: Sequence[str],
    encoder: Encoder,
    *,
    metadata: str | Path | None = None,
    batch_size: int | None = None,
    frames_per_instance: int = FRAMES_PER_INSTANCE,
    workers: int | None = None,
    limits: Limits = Limits(),
    progress: Callable[[Progress], None] = lambda _: None,
) -> IndexReport:
    """Bring `gallery` up to date with every file below the folders `archives`.

    Each file ends in the gallery's images or among its rejected ones; tables that lie beside the pictures are
    left aside. A file that is as the gallery knows it is not read again. A run that is killed loses at most
    what it had not committed, and the next run makes that good.

    Equal pixels are embedded once. A file that shows other pixels as the same SOP instance than one that came
    before it, in the order of the archives and of their names or in an earlier run, is rejected: a gallery
    that drops identifiers cannot tell. It is tried again when it changes.

    metadata: a sidecar table (see `read_sidecar`), its rows joined to the files they name.
    batch_size: pictures handed to the encoder at once; its own by default.
    frames_per_instance: at most so many frames of each file that is read, evenly spaced.
    workers: processes that decode, one for each processor by default. limits: what each file may take.
    progress: called before the first file and after each.
    Raises ArchiveNotFound, InvalidMetadata, GalleryMismatch, GalleryLocked and other errors of the store;
    DecoderUnavailable; Interrupted on Ctrl-C.
    """
    started = time.monotonic()
    gallery.require(encoder)
    sidecar = read_sidecar(metadata) if metadata is not None else NO_SIDECAR
    entries = list_files(archives, leave_out=[path for path in (gallery.path, sidecar.path) if path])
    sidecar.match({entry.uri for entry in entries})

    with gallery.writer() as writer, Guard(workers, limits) as guard:
        identifiers = identifiers_for(gallery)
        plan = make_plan(gallery, writer, entries, sidecar, identifiers)
        batch = Batch(writer, encoder, batch_size or encoder.batch_size, sidecar, identifiers, plan.gone)
        files_done = len(plan.unchanged)
        progress(Progress(files_done, len(entries), 0))
        try:
            for piece in read_files(plan.jobs, frames_per_instance, gallery.meta.spec.rendering, guard):
                batch.add(piece)
                if batch.is_full:
                    batch.embed()
                if isinstance(piece, FileEnd):
                    if batch.is_due:
                        batch.embed()
                        batch.commit()
                    files_done += 1
                    progress(Progress(files_done, len(entries), batch.embedded))
            batch.embed()
            batch.commit()
        except KeyboardInterrupt:
            batch.commit()
            raise Interrupted(_report(gallery, plan, batch, started)) from None
        except DecoderUnavailable:
            batch.commit()
            raise
        return _report(gallery, plan, batch, started)


def check_inputs(archives: Sequence[str], metadata: str | Path | None = None) -> None:
    """Raise what `index_archives` would for these inputs, before an encoder is loaded or a gallery made."""
    for archive in archives:
        if next(open_source(archive).entries(), None) is None:
            raise _empty(archive)
    if metadata is not None:
        read_sidecar(metadata)


def list_files(archives: Sequence[str], leave_out: Sequence[Path] = ()) -> list[Entry]:
    """Return the files of all archives, each archive once, without tables that lie beside the pictures.

    Raises ArchiveNotFound if an archive is missing or holds no file.
    """
    entries: dict[str, list[Entry]] = {}
    tables = 0
    for archive in archives:
        source = open_source(archive, leave_out)
        listed = list(source.entries())
        pictures = [entry for entry in listed if entry.problem or not is_table(entry.path)]
        if not pictures:
            raise _empty(archive)
        entries[source.archive] = pictures
        tables += len(listed) - len(pictures)
    if tables:
        word = "table" if tables == 1 else "tables"
        log.info("%d %s beside the pictures left aside; --metadata joins one to its files", tables, word)
    return [entry for pictures in entries.values() for entry in pictures]


def _empty(archive: str) -> ArchiveNotFound:
    return ArchiveNotFound(f"{archive}: holds no file to index; give the folder that holds the images")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about the files of the archives.

    jobs: the files to read. unchanged: those as the gallery knows them, embedded or rejected.
    read_before: all those that the gallery has read, in whatever state. gone: those that are no longer there.
    """

    jobs: Sequence[Job]
    unchanged: frozenset[Key]
    read_before: frozenset[Key]
    gone: frozenset[Key]


def make_plan(
    gallery: Gallery,
    writer: GalleryWriter,
    entries: Sequence[Entry],
    sidecar: Sidecar,
    identifiers: StoredIdentifiers,
) -> Plan:
    """Compare each file with what the gallery holds of it."""
    archives = {entry.archive for entry in entries}
    known = {
        (archive, uri): file for archive in archives for uri, file in writer.known_files(archive).items()
    }
    problems = {(one.archive, one.uri): one.message for one in gallery.rejected() if one.frame is None}
    outdated = _outdated(gallery, sidecar, identifiers)
    jobs, unchanged = [], set()
    for entry in entries:
        file = known.get(entry.key)
        if entry.problem is not None:
            stands = problems.get(entry.key) == entry.problem
        else:
            stands = file is not None and (file.size, file.mtime_ns) == (entry.size, entry.mtime_ns)
        if entry.key in outdated:
            jobs.append(Job(entry))
        elif stands:
            unchanged.add(entry.key)
        else:
            jobs.append(Job(entry, file.source_digest or None if file else None))
    gone = frozenset(known.keys() - {entry.key for entry in entries})
    if gone:
        log.info("%d of the gallery's files are gone from their archive; their images stay", len(gone))
    read_before = frozenset(key for key, file in known.items() if file.source_digest)
    return Plan(jobs, frozenset(unchanged), read_before, gone)


def _outdated(gallery: Gallery, sidecar: Sidecar, identifiers: StoredIdentifiers) -> set[Key]:
    """Return the indexed files about which the sidecar says something else than the gallery."""
    if not sidecar.rows:
        return set()
    ids = gallery.select(None)
    outdated: set[Key] = set()
    for start in range(0, len(ids), ROWS_AT_ONCE):
        for stored in gallery.instances(ids[start : start + ROWS_AT_ONCE]):
            row = sidecar.rows.get(stored.uri)
            if row is not None and not is_joined(stored, row, identifiers):
                outdated.add((stored.archive, stored.uri))
    return outdated


def _report(gallery: Gallery, plan: Plan, batch: Batch, started: float) -> IndexReport:
    listed = {job.entry.key for job in plan.jobs} | plan.unchanged
    standing = [one for one in gallery.rejected() if (one.archive, one.uri) in listed]
    without_embedding = {(one.archive, one.uri) for one in standing if one.frame is None}
    seconds = time.monotonic() - started
    return IndexReport(
        embedded=batch.stored,
        unchanged=len((plan.unchanged | batch.unchanged) - without_embedding),
        replaced=len(batch.committed & plan.read_before),
        removed=0,
        rejected=dict(Counter(one.reason.value for one in standing)),
        seconds=seconds,
        images_per_second=batch.stored / seconds,
    )
