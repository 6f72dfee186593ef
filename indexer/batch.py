"""Files on their way into the gallery: frames are embedded together, files are committed whole."""

import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import numpy as np

from indexer.commits import Commit, Commits, Embedded, ctrl_c_held_back
from indexer.embedding import Embedder, Outcome
from indexer.known import Claims, KnownFrames
from indexer.known_files import KnownFiles
from indexer.progress import Counts
from indexer.reading import FileEnd, Frame
from indexer.sidecar import Sidecar, joined, rows_of_tables, with_decisions
from indexer.sources import Entry, Key
from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.gallery_schema import RejectedFile
from medsiglip_search.gallery_writer import GalleryWriter
from medsiglip_search.identifiers import StoredIdentifiers
from medsiglip_search.records import Instance, Rejected

# Whichever comes first: how small the store's pieces may get, and how much a kill may cost.
COMMIT_ROWS = 1024
COMMIT_SECONDS = 10.0


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

    @property
    def could_be_read(self) -> bool:
        """Whether something is known of its content; else another run may be luckier."""
        return not any(one.frame is None and one.reason is Reason.UNREADABLE for one in self.rejected)


class Batch:
    """What was read and is not stored yet. To be used inside `with`, at whose end all that is embedded is.

    A gallery has one encoder and one spec, so equal pixels have equal embeddings: the encoder sees no picture
    that the gallery holds or that waits to be stored. A file of the gallery that cannot be read now keeps its
    embeddings.
    """

    def __init__(
        self,
        writer: GalleryWriter,
        embedder: Embedder,
        counts: Counts,
        known_files: KnownFiles,
        sidecar: Sidecar,
        identifiers: StoredIdentifiers,
        is_gone: Callable[[Key], bool],
    ) -> None:
        """Store with `writer` what `embedder` embeds, and count it.

        sidecar, identifiers: what they make of an instance as it was read goes into the gallery.
        is_gone: tells of a file of the gallery whether its archive holds it no more: it contradicts no other.
        """
        self._commits = Commits(writer)
        self._embedder = embedder
        self._counts = counts
        self._known_files = known_files
        self._sidecar = sidecar
        self._identifiers = identifiers
        self._is_gone = is_gone
        self._waiting: list[Frame] = []
        self._files: dict[Key, _File] = {}
        self._touched: dict[Key, tuple[int, int]] = {}
        # The gallery follows its writer, which works in another thread; a copy stays as it is.
        self._gallery = writer.gallery
        self._known = KnownFrames(copy(writer.gallery))
        self._unstored: dict[str, np.ndarray] = {}
        self._rows = 0
        self._committed_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._commits.failed:
                with ctrl_c_held_back():
                    self.commit()
                    self._settle()
        finally:
            self._commits.close()

    @property
    def is_full(self) -> bool:
        """Whether as many frames wait as the encoder takes at once."""
        return len(self._waiting) >= self._embedder.size

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
            self._touched[piece.entry.key] = piece.entry.size, piece.entry.mtime_ns
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
                self._unstored[read.pixel_digest] = outcome
                self._counts.embedded += 1
            # Last, so that a file which Ctrl-C leaves half done still waits and is not committed.
            file.waiting -= 1
        self._waiting.clear()

    def commit(self) -> None:
        """Begin to store the files that are complete; waits for the commit before this one."""
        with ctrl_c_held_back():
            self._settle()
            commit = self._complete()
            if commit.files or commit.touched:
                self._commits.begin(commit)
        self._rows = 0
        self._committed_at = time.monotonic()

    def _settle(self) -> None:
        """Wait for the commit that was begun, and know of what it stored."""
        if not (ended := self._commits.end()):
            return
        commit, image_ids = ended
        self._known.add(commit.instances, image_ids)
        self._known.follow(copy(self._gallery))
        self._unstored = {
            instance.pixel_digest: embedding
            for file in self._files.values()
            for instance, _, embedding in file.embedded
        }
        known = [self._known_files.find(key) for key in commit.files]
        self._counts.replaced += sum(file is not None and file.digest is not None for file in known)
        touched = [self._known_files.find(key) for key in commit.touched]
        self._counts.unchanged += sum(file is not None and file.is_embedded for file in touched)
        self._counts.stored += len(image_ids)

    def _complete(self) -> Commit:
        """Take out the files that are complete, and return what is to be stored of them."""
        complete = [
            (key, file, file.end)
            for key, file in self._files.items()
            if file.end is not None and not file.waiting
        ]
        touched, self._touched = self._touched, {}
        files: list[Key] = []
        embedded: list[Embedded] = []
        rejected: list[RejectedFile] = []
        claims = Claims(self._known, self._is_gone)
        for key, file, end in complete:
            del self._files[key]
            if self._stays(key, file):
                self._counts.out_of_reach += 1
                self._counts.unchanged += 1
                continue
            frames, rejections = _outcome(file, end)
            if first := claims.claim(key, file.claims if frames else ()):
                file.rejected.append(_duplicate(end.entry, first))
                frames, rejections = _outcome(file, end)
            files.append(key)
            embedded += frames
            rejected += rejections
        known = [key for key in files if self._known_files.is_embedded(key)]
        if self._sidecar.path is None:
            self._counts.bared += rows_of_tables(self._gallery, known)
        instances = with_decisions(self._gallery, known, [instance for instance, _, _ in embedded])
        embedded = [
            (instance, thumbnail, embedding)
            for instance, (_, thumbnail, embedding) in zip(instances, embedded, strict=True)
        ]
        return Commit(files, embedded, rejected, touched)

    def _stays(self, key: Key, file: _File) -> bool:
        """Tell whether the gallery keeps what it has of the file, because nothing newer is known."""
        known = None if file.could_be_read else self._known_files.find(key)
        return known is not None and known.is_embedded

    def _outcomes_of_waiting(self) -> dict[str, Outcome]:
        """Return by pixel_digest the embedding of each picture that waits, or why it has none."""
        waiting = {frame.instance.pixel_digest: frame.pixels for frame in self._waiting}
        outcomes: dict[str, Outcome] = {
            digest: self._unstored[digest] for digest in waiting if digest in self._unstored
        }
        outcomes |= self._known.embeddings(digest for digest in waiting if digest not in outcomes)
        new = [digest for digest in waiting if digest not in outcomes]
        outcomes |= zip(new, self._embedder.embed([waiting[digest] for digest in new]), strict=True)
        return outcomes

    def _file(self, archive: str, uri: str) -> _File:
        return self._files.setdefault((archive, uri), _File())


def _duplicate(entry: Entry, first: Instance) -> Rejected:
    """Return why a file is rejected whose SOP instance `first` shows with other pixels."""
    where = first.uri if first.archive == entry.archive else f"{first.uri} of {first.archive}"
    message = (
        f"{entry.uri}: has the SOP Instance UID of {where}, which came first, but other pixels. "
        "Give it a UID of its own, or index it into another gallery; when the other one is gone, "
        "index --retry-rejected tries it again"
    )
    return Rejected(entry.uri, None, Reason.DUPLICATE_INSTANCE, message)


def _outcome(file: _File, end: FileEnd) -> tuple[list[Embedded], list[RejectedFile]]:
    """Return the embedded and the rejected frames of a complete file, or one rejection of it all."""
    entry, frames, rejected = end.entry, file.embedded, file.rejected
    if not frames:
        rejected = [replace(rejected[0], frame=None)]
    elif whole := [one for one in rejected if one.frame is None]:
        frames, rejected = [], whole[:1]
    # A file that could not be read is tried again with the same size and time, so none are noted.
    state = (entry.size, entry.mtime_ns, end.source_digest) if file.could_be_read else (0, 0, "")
    return frames, [
        RejectedFile(one.uri, one.frame, one.reason, one.message, entry.archive, *state) for one in rejected
    ]
