"""From a file to the frames worth embedding, or to the reason why there are none."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from indexer.side_by_side import side_by_side
from indexer.sources import Entry
from medsiglip_search.encoders.fitting import fitted
from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images import ImageFile, open_image, pixel_digest, source_digest, thumbnail
from medsiglip_search.images.guard import Guard
from medsiglip_search.images.source import cannot_be_read
from medsiglip_search.records import Instance, Picture, PreprocessSpec, Rejected


@dataclass(frozen=True, slots=True)
class Job:
    """A file to read.

    known_digest: the hash of the file's source_digest when it was last indexed; if it is still the same, the
        frames are not wanted.
    """

    entry: Entry
    known_digest: int | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame to embed.

    instance: as it will be stored, but for identifiers, which are still the file's own.
    pixels: (size, size, 3) uint8 RGB, fitted to the encoder.
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
    jobs: Iterable[Job], frames_per_instance: int, spec: PreprocessSpec, guard: Guard
) -> Generator[Frame | FileEnd, None, None]:
    """Yield for each file its sampled frames, then its end, file by file in the order of `jobs`.

    spec: how pictures are made of files, and fitted to the encoder.
    As many files as the guard has workers are read at once, ahead of the caller. Raises nothing that a file
    could cause; DecoderUnavailable.
    """
    files = (_read_file(job, frames_per_instance, spec, guard) for job in jobs)
    return side_by_side(files, guard.workers)


def _read_file(
    job: Job, frames_per_instance: int, spec: PreprocessSpec, guard: Guard
) -> Generator[Frame | FileEnd, None, None]:
    entry, digest = job.entry, ""
    rejected: list[Rejected] = []
    try:
        content = _content(entry)
        # Not in the guard: to read a large file takes its time, and that is no fault of its pictures.
        digest = source_digest(content)
        if hash(digest) == job.known_digest:
            yield FileEnd(entry, digest, unchanged=True)
            return
        for piece in guard.run(read_frames, content, frames_per_instance, spec):
            if isinstance(piece, Unshown):
                rejected.append(Rejected(entry.uri, piece.frame, piece.error.reason, str(piece.error)))
            else:
                yield Frame(_instance(entry, digest, piece), piece.fitted.pixels, piece.thumbnail)
        if isinstance(content, Path):
            _require_unchanged(content, entry)
    except Unreadable as error:
        rejected.append(Rejected(entry.uri, None, error.reason, str(error)))
    yield FileEnd(entry, digest, tuple(rejected))


@dataclass(frozen=True, slots=True)
class Shown:
    """What a worker makes of one frame.

    fitted: as the encoder sees it; a picture as it is would often be a hundred times as large to hand over.
    shape: rows, columns of the picture as it is; pixel_digest, thumbnail: of that one.
    """

    fitted: Picture
    shape: tuple[int, int]
    pixel_digest: str
    thumbnail: bytes


@dataclass(frozen=True, slots=True)
class Unshown:
    """A frame of which a worker can make nothing."""

    frame: int
    error: Unreadable


def read_frames(
    content: Path | bytes, frames_per_instance: int, spec: PreprocessSpec
) -> Generator[Shown | Unshown, None, Shown | Unshown]:
    """Yield the sampled frames of one file, and return the last: a task for the guard. Raises Unreadable."""
    with open_image(content, spec.rendering) as image:
        *frames, last = image.sampled(frames_per_instance)
        for frame in frames:
            yield _shown(image, frame, spec)
        return _shown(image, last, spec)


def _shown(image: ImageFile, frame: int, spec: PreprocessSpec) -> Shown | Unshown:
    try:
        picture = image.read(frame)
    except Unreadable as error:
        return Unshown(frame, error)
    pixels = picture.pixels
    small = replace(picture, pixels=fitted(pixels, spec))
    return Shown(small, pixels.shape[:2], pixel_digest(pixels), thumbnail(pixels))


def _content(entry: Entry) -> Path | bytes:
    if entry.problem is not None:
        raise Unreadable(Reason.UNREADABLE, entry.problem)
    try:
        return entry.file.content()
    except OSError as error:
        raise cannot_be_read(error) from error


def _require_unchanged(path: Path, entry: Entry) -> None:
    """Raise Unreadable if the file is no longer as it was listed: digest and frames may be of two files."""
    try:
        status = path.stat()
    except OSError as error:
        raise cannot_be_read(error) from error
    if replace(entry, size=status.st_size, mtime_ns=status.st_mtime_ns) != entry:
        raise Unreadable(Reason.UNREADABLE, "it changed while it was read; the next run reads it again")


def _instance(entry: Entry, digest: str, shown: Shown) -> Instance:
    picture = shown.fitted
    rows, columns = shown.shape
    return Instance(
        image_id=0,  # the gallery gives the id
        archive=entry.archive,
        uri=entry.uri,
        frame=picture.frame,
        source_digest=digest,
        pixel_digest=shown.pixel_digest,
        size=entry.size,
        mtime_ns=entry.mtime_ns,
        rows=rows,
        columns=columns,
        attributes=picture.attributes,
        flags=picture.flags,
    )
