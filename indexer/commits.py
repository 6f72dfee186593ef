"""Commits to a gallery beside the work that goes on: one at a time, in a thread."""

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from indexer.sources import Key
from medsiglip_search.gallery_schema import RejectedFile
from medsiglip_search.gallery_writer import GalleryWriter
from medsiglip_search.records import Instance

Embedded = tuple[Instance, bytes, np.ndarray]
"""An instance as it is stored, its thumbnail, its embedding (D,)."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What is to be stored together.

    files: all that the gallery holds of them is replaced. embedded, rejected: by these rows.
    touched: files that have another size and time now and are otherwise as the gallery knows them.
    """

    files: Sequence[Key]
    embedded: Sequence[Embedded]
    rejected: Sequence[RejectedFile]
    touched: Mapping[Key, tuple[int, int]]

    @property
    def instances(self) -> list[Instance]:
        """What was embedded."""
        return [instance for instance, _, _ in self.embedded]


class Commits:
    """The commits of one run, each begun when the one before has ended.

    failed: whether one could not be stored; no further one should be begun then.
    """

    def __init__(self, writer: GalleryWriter) -> None:
        self.failed = False
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, "commit")
        self._running: tuple[Commit, Future[np.ndarray]] | None = None

    def begin(self, commit: Commit) -> None:
        """Store `commit` while the caller goes on; nothing else may be under way."""
        self._running = commit, self._thread.submit(self._store, commit)

    def end(self) -> tuple[Commit, np.ndarray] | None:
        """Wait for what was begun; return it and the image_ids of its rows, (N,) int64.

        None if nothing was begun since. Raises what the store raises.
        """
        if self._running is None:
            return None
        commit, stored = self._running
        self._running = None
        try:
            return commit, stored.result()
        except BaseException:
            self.failed = True
            raise

    def close(self) -> None:
        """End the thread, after what it is at."""
        self._thread.shutdown()

    def _store(self, commit: Commit) -> np.ndarray:
        image_ids = np.empty(0, np.int64)
        if commit.files:
            thumbnails = [thumbnail for _, thumbnail, _ in commit.embedded]
            embeddings = np.array([embedding for _, _, embedding in commit.embedded], np.float32)
            shape = len(embeddings), self._writer.gallery.meta.dim  # also where there is none
            image_ids = self._writer.commit(
                commit.instances, thumbnails, embeddings.reshape(shape), commit.rejected
            )
        if commit.touched:
            self._writer.touch(commit.touched)
        return image_ids


@contextmanager
def ctrl_c_held_back() -> Iterator[None]:
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
