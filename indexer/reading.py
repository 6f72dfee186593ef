"""From a file to the frames worth embedding, or to the reason why there are none."""

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from indexer.sources import Entry
from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images import open_image, sampled_frames
from medsiglip_search.images.thumbnail import pixel_digest, thumbnail
from medsiglip_search.records import Instance, Picture, Rejected

T = TypeVar("T")


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


def read_files(jobs: Iterable[Job], frames_per_instance: int) -> Iterator[Frame | FileEnd]:
    """Yield for each file its sampled frames, then its end. Raises nothing that a file could cause."""
    for job in jobs:
        yield from _read_file(job, frames_per_instance)


def _read_file(job: Job, frames_per_instance: int) -> Iterator[Frame | FileEnd]:
    entry, digest = job.entry, ""
    rejected: list[Rejected] = []
    try:
        if entry.problem is not None:
            raise Unreadable(Reason.UNREADABLE, entry.problem)
        digest = _digest(entry)
        if digest == job.known_digest:
            yield FileEnd(entry, digest, unchanged=True)
            return
        with open_image(entry.path) as image:
            if image.frame_count < 1:
                raise Unreadable(Reason.MALFORMED, "it holds no frame")
            for frame in sampled_frames(image.frame_count, frames_per_instance):
                try:
                    picture = image.read(frame)
                    instance = _instance(entry, digest, frame, picture)
                    made = Frame(instance, picture.pixels, thumbnail(picture.pixels))
                except Unreadable as error:
                    rejected.append(Rejected(entry.uri, frame, error.reason, str(error)))
                else:
                    yield made
        _require_unchanged(entry)
    except Unreadable as error:
        rejected.append(Rejected(entry.uri, None, error.reason, str(error)))
    except OSError as error:
        # The error's own text would name the path.
        message = f"cannot be read: {os.strerror(error.errno or 0).lower()}"
        rejected.append(Rejected(entry.uri, None, Reason.UNREADABLE, message))
    except Exception as error:
        # Decoders' exceptions are translated at their homes; one that slips through stops this file alone.
        reason = Reason.TOO_LARGE if isinstance(error, MemoryError) else Reason.MALFORMED
        rejected.append(Rejected(entry.uri, None, reason, f"the decoder failed: {type(error).__name__}"))
    yield FileEnd(entry, digest, tuple(rejected))


def ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """Yield what `items` yields, made up to `depth` items early in a thread of its own."""
    pool = ThreadPoolExecutor(1, "read-ahead")

    def following() -> tuple[T, ...]:
        """Return the next item, or nothing at the end; a future cannot carry StopIteration."""
        return tuple(itertools.islice(items, 1))

    try:
        pending = deque(pool.submit(following) for _ in range(depth))
        while item := pending.popleft().result():
            pending.append(pool.submit(following))
            yield item[0]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _digest(entry: Entry) -> str:
    """Return the SHA-256 of the file in hexadecimal. Raises OSError."""
    with entry.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_unchanged(entry: Entry) -> None:
    """Raise Unreadable if the file is no longer as it was listed: digest and frames may be of two files."""
    status = entry.path.stat()
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
