"""Rows of one file together, however they come: a gallery replaces whole files."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from medsiglip_search.gallery_schema import RejectedFile
from medsiglip_search.records import Instance

if TYPE_CHECKING:
    from medsiglip_search.gallery import GalleryWriter

COMMIT_ROWS = 4096

T = TypeVar("T")
Row = tuple[Instance, bytes, np.ndarray]
"""An instance, its thumbnail, its embedding (D,) float16."""


def file_keys(archives: Iterable[str], uris: Iterable[str]) -> np.ndarray:
    """Return for each row 16 bytes that name its file, (N,) S16: a BLAKE2b of archive and uri."""
    names = zip(archives, uris, strict=True)
    digests = [hashlib.blake2b(f"{a}\0{u}".encode(), digest_size=16).digest() for a, u in names]
    return np.frombuffer(b"".join(digests), "S16")


def last_rows(keys: np.ndarray) -> np.ndarray:
    """Return for each row, (N,) bool, whether it is the last one of its file."""
    _, from_end = np.unique(keys[::-1], return_index=True)
    is_last = np.zeros(len(keys), bool)
    is_last[len(keys) - 1 - from_end] = True
    return is_last


def repeated_frame(keys: np.ndarray, frames: np.ndarray) -> tuple[int, int] | None:
    """Return the first row, counted from 0, that shows the frame of an earlier one, and that one; or None."""
    order = np.lexsort((frames, keys))
    same = (keys[order][1:] == keys[order][:-1]) & (frames[order][1:] == frames[order][:-1])
    if not same.any():
        return None
    # The sort is stable: of equal rows the earlier one stands before.
    second = np.argmin(np.where(same, order[1:], len(order)))
    return int(order[1:][second]), int(order[:-1][second])


def in_whole_files(rows: Iterable[T], keys: np.ndarray, size: int = COMMIT_ROWS) -> Iterator[Sequence[T]]:
    """Yield the rows in batches of whole files, `size` rows or a few more; only scattered rows must wait.

    keys: of each row, as `file_keys` names its file.
    """
    waiting: dict[bytes, list[T]] = {}
    batch: list[T] = []
    for row, key, is_end in zip(rows, keys, last_rows(keys), strict=True):
        waiting.setdefault(key, []).append(row)
        if is_end:
            batch += waiting.pop(key)
            if len(batch) >= size:
                yield batch
                batch = []
    if batch:
        yield batch


def commit(writer: "GalleryWriter", rows: Sequence[Row], rejected: Sequence[RejectedFile] = ()) -> None:
    """Store one batch of whole files."""
    embeddings = np.array([embedding for _, _, embedding in rows], np.float16)
    writer.commit(
        [instance for instance, _, _ in rows],
        [thumbnail for _, thumbnail, _ in rows],
        embeddings.reshape(len(rows), writer.gallery.meta.dim),  # also where there is none
        rejected,
    )
