"""Archives in, gallery out: list, read, embed, commit."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from indexer.batch import Batch
from indexer.embedding import Embedder
from indexer.known_files import KnownFiles, state_of
from indexer.listing import Listing, no_files
from indexer.progress import Counts, Meter, Progress
from indexer.pruning import drop_gone, drop_outlived, unlisted
from indexer.reading import FileEnd, Job, read_files
from indexer.runs import IndexReport, Interrupted, RecordedRun, standing_rejections
from indexer.sidecar import (
    NO_SIDECAR,
    Sidecar,
    is_joined,
    read_sidecar,
    require_no_decisions,
    sidecar_columns,
)
from indexer.sources import Entry, Key, Source, open_source
from medsiglip_search.encoders import Encoder
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_writer import GalleryWriter
from medsiglip_search.identifiers import StoredIdentifiers, identifiers_for
from medsiglip_search.images.guard import Guard, Limits

__all__ = ["IndexReport", "Interrupted", "Progress", "check_inputs", "index_archives"]

FRAMES_PER_INSTANCE = 16
ROWS_AT_ONCE = 10_000

log = logging.getLogger(__name__)


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
    prune: bool = False,
    retry_rejected: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> IndexReport:
    """Bring `gallery` up to date with every file of `archives`.

    Each file ends in the gallery's images or among its rejected ones; tables that lie beside the pictures are
    left aside. A file that is as the gallery knows it is not opened, one of which only the time changed is
    noted and keeps its rows. A rejected file is tried again when it changes; in every run where it could not
    be read, as nothing is known of it then. A file that is embedded and cannot be read now keeps its rows. A
    run that is killed loses at most what it had not committed, and the next run makes that good.

    Listing, decoding, embedding and storing go on side by side, each a bounded way ahead of the next.

    Equal pixels are embedded once. A file that shows other pixels as the same SOP instance than one that came
    before it, in the order of the archives and of their names or in an earlier run, is rejected: a gallery
    that drops identifiers cannot tell.

    metadata: a sidecar table (see `read_sidecar`), its rows joined to the files they name.
    batch_size: pictures handed to the encoder at once; its own by default.
    frames_per_instance: at most so many frames of each file that is read, evenly spaced.
    workers: processes that decode, one for each processor by default. limits: what each file may take.
    prune: take files that are gone from their archive out of the gallery, when all archives have been listed.
    retry_rejected: try files that stand rejected, or some frames of theirs, although they did not change.
    progress: called at the start, after each file that was read and at the end.
    Raises ArchiveNotFound, InvalidMetadata, GalleryMismatch, GalleryLocked and other errors of the store;
    DecoderUnavailable; EncoderFailed; Interrupted on Ctrl-C. What was embedded before is committed.
    """
    gallery.require(encoder)
    sources, sidecar = open_inputs(archives, metadata, gallery.path)
    require_no_decisions(sidecar, gallery)
    counts, rows_met = Counts(), Counter[str]()
    with gallery.writer() as writer, Guard(workers, limits) as guard, Listing(sources) as listing:
        known = KnownFiles(gallery, listing.sources)
        meter = Meter(counts, listing, progress)
        rejections = partial(standing_rejections, gallery, known, listing)
        with RecordedRun(writer, listing.sources, counts, rejections) as run:
            meter.tell()
            identifiers = identifiers_for(gallery)
            known.outdate(outdated(gallery, sidecar, identifiers))
            listed = listing.files(partial(job_of, known, retry_rejected))
            jobs = changed(listed, known, sidecar, rows_met, counts, meter)
            embedder = Embedder(encoder, batch_size or encoder.batch_size)
            with Batch(writer, embedder, counts, known, sidecar, identifiers, listing.is_gone) as batch:
                for piece in read_files(jobs, frames_per_instance, gallery.meta.spec, guard):
                    batch.add(piece)
                    if batch.is_full:
                        batch.embed()
                    if isinstance(piece, FileEnd):
                        if batch.is_due:
                            batch.embed()
                            batch.commit()
                        counts.files += 1
                        meter.tell()
                batch.embed()
            listing.require_files()
            sidecar.match(rows_met)
            take_out_gone(writer, known, listing, prune, counts)
            tell_what_is_amiss(gallery, counts)
            meter.tell()
        return run.report


def take_out_gone(
    writer: GalleryWriter, known: KnownFiles, listing: Listing, prune: bool, counts: Counts
) -> None:
    """Take out what is no longer in the archives if `prune` says so, else log how much that is."""
    drop_outlived(writer, known, listing)
    if prune:
        for files in drop_gone(writer, known, listing):
            counts.removed += files
    elif gone := sum(1 for _ in unlisted(writer.gallery, known, listing)):
        log.info("%d of the gallery's files are gone; their images stay; --prune drops them", gone)


def tell_what_is_amiss(gallery: Gallery, counts: Counts) -> None:
    """Log what a run could not bring up to date."""
    if counts.out_of_reach:
        log.warning("%d files cannot be read now; their images stay as they were", counts.out_of_reach)
    if counts.bared:
        log.warning(
            "%d files were read anew without --metadata and have lost their columns (%s); run again with it "
            "to join them",
            counts.bared,
            ", ".join(sidecar_columns(gallery)),
        )


def check_inputs(archives: Sequence[str], metadata: str | Path | None = None) -> None:
    """Raise what `index_archives` would for these inputs, before an encoder is loaded or a gallery made."""
    sources, _ = open_inputs(archives, metadata)
    for name, source in zip(archives, sources, strict=True):
        # A folder tells at once; of other archives, to list them can take as long as to read them.
        if os.path.isdir(name) and next(source.entries(), None) is None:
            raise no_files(name)


def open_inputs(
    archives: Sequence[str], metadata: str | Path | None = None, gallery: Path | None = None
) -> tuple[list[Source], Sidecar]:
    """Return the archives, less the table and the gallery that may lie in them, and the table.

    Raises ArchiveNotFound; InvalidMetadata, also if no row of the table belongs to a file of the archives.
    """
    sidecar = read_sidecar(metadata) if metadata is not None else NO_SIDECAR
    sources = [open_source(one, [path for path in (gallery, sidecar.path) if path]) for one in archives]
    if not any(source.holds(uri) for uri in sidecar.rows for source in sources):
        sidecar.match(Counter())
    return sources, sidecar


def job_of(known: KnownFiles, retry_rejected: bool, entry: Entry) -> Job | None:
    """Return how to read a file that was listed, None if it is as the gallery knows it."""
    file = known.meet(entry.key)
    if file is None or file.is_outdated or (retry_rejected and file.has_rejections):
        return Job(entry)
    return Job(entry, file.digest) if file.state != state_of(entry) else None


def changed(
    files: Iterable[tuple[Entry, Job | None]],
    known: KnownFiles,
    sidecar: Sidecar,
    rows_met: Counter[str],
    counts: Counts,
    meter: Meter,
) -> Iterator[Job]:
    """Yield the jobs among `files`, and count those that need none.

    rows_met: counts for each row of the sidecar the files that it names.
    """
    for entry, job in files:
        if entry.uri in sidecar.rows:
            rows_met[entry.uri] += 1
        if job is not None:
            yield job
        else:
            counts.unchanged += known.is_embedded(entry.key)
            meter.skip()


def outdated(gallery: Gallery, sidecar: Sidecar, identifiers: StoredIdentifiers) -> Iterator[Key]:
    """Yield the indexed files about which the sidecar says something else than the gallery."""
    if not sidecar.rows:
        return
    ids = gallery.select(None)
    for start in range(0, len(ids), ROWS_AT_ONCE):
        for stored in gallery.instances(ids[start : start + ROWS_AT_ONCE]):
            row = sidecar.rows.get(stored.uri)
            if row is not None and not is_joined(stored, row, identifiers):
                yield stored.archive, stored.uri
