"""Files on their way into the gallery: frames are embedded together, files are committed whole."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from indexer.known import Claims, KnownFrames
from indexer.reading import FileEnd, Frame
from indexer.sidecar import Sidecar, joined
from indexer.sources import Entry, Key
from medsiglip_search.encoders import Encoder
from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.gallery import GalleryWriter
from medsiglip_search.gallery_schema import RejectedFile
from medsiglip_search.identifiers import StoredIdentifiers
from medsiglip_search.records import Instance, Rejected

# Large pictures go to the encoder in smaller numbers.
WAITING_BYTES = 256 << 20

# Whichever comes first: how small the store's pieces may get, and how much a kill may cost.
COMMIT_ROWS = 512
COMMIT_SECONDS = 10.0

_PASSING = (Reason.UNREADABLE, Reason.DECODE_TIMEOUT)

Embedded = tuple[Instance, bytes, np.ndarray]
"""An instance as it is stored, its thumbnail, its embedding (D,)."""


@dataclass(slots=True)
class _File:
    """One file so far; complete when its end has come and none of its frames waits.

    claims: the embedded frames whose SOP instance the file itself tells.
    """

    waiting: int = 0
    embedded: list[Embedded] = field(default_factory=list)
    claims: list[Instance] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    end: FileEnd | None = None


class Batch:
    """What was read and is not committed yet, and a count of what was.

    A gallery has one encoder and one spec, so equal pixels have equal embeddings: the encoder sees no picture
    that the gallery holds or that waits to be committed.

    embedded: frames with an embedding so far; stored: those of them that are committed.
    committed: files whose outcome is; unchanged: files found as the gallery knows them.
    """

    def __init__(
        self,
        writer: GalleryWriter,
        encoder: Encoder,
        size: int,
        sidecar: Sidecar,
        identifiers: StoredIdentifiers,
        gone: Set[Key] = frozenset(),
    ) -> None:
        """Commit to `writer` what `encoder` embeds, `size` frames at once.

        sidecar, identifiers: what they make of an instance as it was read goes into the gallery.
        gone: files that are in the gallery and no longer in their archive; they contradict no other.
        """
        self.committed: set[Key] = set()
        self.unchanged: set[Key] = set()
        self.embedded = self.stored = 0
        self._writer = writer
        self._encoder = encoder
        self._size = size
        self._sidecar = sidecar
        self._identifiers = identifiers
        self._gone = gone
        self._waiting: list[Frame] = []
        self._files: dict[Key, _File] = {}
        self._known = KnownFrames(writer.gallery)
        self._uncommitted: dict[str, np.ndarray] = {}
        self._rows = 0
        self._committed_at = time.monotonic()

    @property
    def is_full(self) -> bool:
        """Whether as many frames wait as the encoder takes at once."""
        waiting_bytes = sum(frame.pixels.nbytes for frame in self._waiting)
        return len(self._waiting) >= self._size or waiting_bytes >= WAITING_BYTES

    @property
    def is_due(self) -> bool:
        """Whether it is time to commit."""
        return self._rows >= COMMIT_ROWS or time.monotonic() - self._committed_at >= COMMIT_SECONDS

    def add(self, piece: Frame | FileEnd) -> None:
        """Take the next frame, or the end of the file whose frames came last."""
        self._rows += 1
        if isinstance(piece, Frame):
            self._file(piece.instance.archive, piece.instance.uri).waiting += 1
            self._waiting.append(piece)
        elif piece.unchanged:
            self.unchanged.add(piece.entry.key)
        else:
            file = self._file(*piece.entry.key)
            file.rejected += piece.rejected
            file.end = piece

    def embed(self) -> None:
        """Embed the frames that wait."""
        if not self._waiting:
            return
        outcomes = self._outcomes_of_waiting()
        for frame in self._waiting:
            read = frame.instance
            file = self._file(read.archive, read.uri)
            outcome = outcomes[read.pixel_digest]
            if isinstance(outcome, Unreadable):
                file.rejected.append(Rejected(read.uri, read.frame, outcome.reason, str(outcome)))
            else:
                row = self._sidecar.row(read.uri)
                instance = joined(read, row, self._identifiers)
                file.embedded.append((instance, frame.thumbnail, outcome))
                # A table may count its slices under that name, or name pictures made of one instance.
                if row.attributes.instance is None and instance.attributes.instance is not None:
                    file.claims.append(instance)
                self._uncommitted[read.pixel_digest] = outcome
                self.embedded += 1
            # Last, so that a file which Ctrl-C leaves half done still waits and is not committed.
            file.waiting -= 1
        self._waiting.clear()

    def commit(self) -> None:
        """Store the files that are complete."""
        complete: list[Key] = []
        embedded: list[Embedded] = []
        rejected: list[RejectedFile] = []
        claims = Claims(self._known, self._gone)
        for key, file in self._files.items():
            if file.end is not None and not file.waiting:
                complete.append(key)
                frames, rejections = _outcome(file, file.end)
                if first := claims.claim(key, file.claims if frames else ()):
                    file.rejected.append(_duplicate(file.end.entry, first))
                    frames, rejections = _outcome(file, file.end)
                embedded += frames
                rejected += rejections
        instances = [instance for instance, _, _ in embedded]
        thumbnails = [thumbnail for _, thumbnail, _ in embedded]
        embeddings = np.array([embedding for _, _, embedding in embedded], np.float32)
        shape = len(embedded), self._encoder.dim  # also where there is none
        with _ctrl_c_held_back():
            if complete:
                image_ids = self._writer.commit(instances, thumbnails, embeddings.reshape(shape), rejected)
                self._known.add(instances, image_ids)
            self.stored += len(embedded)
            self.committed.update(complete)
            for key in complete:
                del self._files[key]
            self._uncommitted = {
                instance.pixel_digest: embedding
                for file in self._files.values()
                for instance, _, embedding in file.embedded
            }
        self._rows = 0
        self._committed_at = time.monotonic()

    def _outcomes_of_waiting(self) -> dict[str, np.ndarray | Unreadable]:
        """Return by pixel_digest the embedding of each picture that waits, or why it has none."""
        waiting = {frame.instance.pixel_digest: frame.pixels for frame in self._waiting}
        outcomes: dict[str, np.ndarray | Unreadable] = {
            digest: self._uncommitted[digest] for digest in waiting if digest in self._uncommitted
        }
        outcomes |= self._known.embeddings(digest for digest in waiting if digest not in outcomes)
        new = [digest for digest in waiting if digest not in outcomes]
        outcomes |= zip(new, _embed(self._encoder, [waiting[digest] for digest in new]), strict=True)
        return outcomes

    def _file(self, archive: str, uri: str) -> _File:
        return self._files.setdefault((archive, uri), _File())


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Let Ctrl-C wait for the end: half a commit could be told neither from a whole one nor from none."""
    # Only the main thread is interrupted, and only under this handler.
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


def _embed(encoder: Encoder, images: Sequence[np.ndarray]) -> list[np.ndarray | Unreadable]:
    """Return for each picture its embedding, (D,) float32, or why the encoder has none for it."""
    if not images:
        return []
    try:
        return list(encoder.embed_images(images))
    except Unreadable as error:
        if len(images) == 1:
            return [error]
    # One of them spoils the batch.
    return [outcome for image in images for outcome in _embed(encoder, [image])]


def _duplicate(entry: Entry, first: Instance) -> Rejected:
    """Return why a file is rejected whose SOP instance `first` shows with other pixels."""
    where = first.uri if first.archive == entry.archive else f"{first.uri} of {first.archive}"
    message = (
        f"{entry.uri}: has the SOP Instance UID of {where}, which came first, but other pixels. "
        "Give it a UID of its own, or index it into another gallery"
    )
    return Rejected(entry.uri, None, Reason.DUPLICATE_INSTANCE, message)


def _outcome(file: _File, end: FileEnd) -> tuple[list[Embedded], list[RejectedFile]]:
    """Return the embedded and the rejected frames of a complete file, or one rejection of it all."""
    entry, frames, rejected = end.entry, file.embedded, file.rejected
    if not frames:
        rejected = [replace(rejected[0], frame=None)]
    elif whole := [one for one in rejected if one.frame is None]:
        frames, rejected = [], whole[:1]
    # Another run may be luckier with the same size and time, or be given more of it, so none are noted.
    tried = all(one.frame is not None or one.reason not in _PASSING for one in rejected)
    state = (entry.size, entry.mtime_ns, end.source_digest) if tried else (0, 0, "")
    return frames, [
        RejectedFile(one.uri, one.frame, one.reason, one.message, entry.archive, *state) for one in rejected
    ]
