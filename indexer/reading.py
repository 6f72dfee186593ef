"""From a file to the frames worth embedding, or to the reason why there are none."""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from indexer.side_by_side import side_by_side
from indexer.sources import Entry
from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images import open_image, pixel_digest, source_digest, thumbnail
from medsiglip_search.images.guard import Guard
from medsiglip_search.images.source import cannot_be_read
from medsiglip_search.records import Instance, Picture, Rejected
from medsiglip_search.windows import RenderSpec


@dataclass(frozen=True, slots=True)
class Job:
    """A file to read.

    known_digest: of the file when it was last indexed; if it is still the same, the frames are not wanted.
    """

    entry: Entry
    known_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame to embed.

    instance: as it will be stored, but for identifiers, which are still the file's own.
    pixels: (rows, columns, 3) uint8 RGB.
    thumbnail: JPEG.
    """

    instance: Instance
    pixels: np.ndarray
    thumbnail: bytes


@dataclass(frozen=True, slots=True)
class FileEnd:
    """What follows the last frame of a file.

    source_digest: SHA-256 of the file, "" where it could not be read.
    unchanged: the file holds what it held when it was last indexed, so its frames were not read.
    """

    entry: Entry
    source_digest: str
    rejected: tuple[Rejected, ...] = ()
    unchanged: bool = False


def read_files(
    jobs: Iterable[Job], frames_per_instance: int, rendering: RenderSpec, guard: Guard
) -> Iterator[Frame | FileEnd]:
    """Yield for each file its sampled frames, then its end, file by file in the order of `jobs`.

    As many files as the guard has workers are read at once, ahead of the caller. Raises nothing that a file
    could cause; DecoderUnavailable.
    """
    files = (_read_file(job, frames_per_instance, rendering, guard) for job in jobs)
    return side_by_side(files, guard.workers)


def _read_file(
    job: Job, frames_per_instance: int, rendering: RenderSpec, guard: Guard
) -> Generator[Frame | FileEnd, None, None]:
    entry, digest = job.entry, ""
    rejected: list[Rejected] = []
    try:
        if entry.problem is not None:
            raise Unreadable(Reason.UNREADABLE, entry.problem)
        # Not in the guard: to read a large file takes its time, and that is no fault of its pictures.
        digest = source_digest(entry.path)
        if digest == job.known_digest:
            yield FileEnd(entry, digest, unchanged=True)
            return
        for piece in guard.run(read_frames, entry, digest, frames_per_instance, rendering):
            if isinstance(piece, Rejected):
                rejected.append(piece)
            else:
                yield piece
        _require_unchanged(entry)
    except Unreadable as error:
        rejected.append(Rejected(entry.uri, None, error.reason, str(error)))
    yield FileEnd(entry, digest, tuple(rejected))


def read_frames(
    entry: Entry, source_digest: str, frames_per_instance: int, rendering: RenderSpec
) -> Iterator[Frame | Rejected]:
    """Yield the sampled frames of one file: a task for the guard. Raises Unreadable."""
    with open_image(entry.path, rendering) as image:
        for frame in image.sampled(frames_per_instance):
            try:
                picture = image.read(frame)
                instance = _instance(entry, source_digest, frame, picture)
                made = Frame(instance, picture.pixels, thumbnail(picture.pixels))
            except Unreadable as error:
                yield Rejected(entry.uri, frame, error.reason, str(error))
            else:
                yield made


def _require_unchanged(entry: Entry) -> None:
    """Raise Unreadable if the file is no longer as it was listed: digest and frames may be of two files."""
    try:
        status = entry.path.stat()
    except OSError as error:
        raise cannot_be_read(error) from error
    if (status.st_size, status.st_mtime_ns) != (entry.size, entry.mtime_ns):
        raise Unreadable(Reason.UNREADABLE, "it changed while it was read; the next run reads it again")


def _instance(entry: Entry, digest: str, frame: int, picture: Picture) -> Instance:
    rows, columns = picture.pixels.shape[:2]
    return Instance(
        image_id=0,  # the gallery gives the id
        archive=entry.archive,
        uri=entry.uri,
        frame=frame,
        source_digest=digest,
        pixel_digest=pixel_digest(picture.pixels),
        size=entry.size,
        mtime_ns=entry.mtime_ns,
        rows=rows,
        columns=columns,
        attributes=picture.attributes,
        flags=picture.flags,
    )
