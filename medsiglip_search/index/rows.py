"""The embeddings of one version of a gallery as arrays, in which the index says places.

Most rows lie in the base, a file of all embeddings at the time when it was written, mapped into memory: it
takes no time to open, and processes share it. Rows that came later are the tail, read from the gallery at
each opening; rows that have gone since are dead. When tail and dead are many, the base is written anew.

An image's row never changes while its id and the time when it was stored are the same, whatever version,
backup or merge it comes from: so each row of the base is known to be the gallery's, or is dead.
"""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from medsiglip_search.gallery import Gallery
from medsiglip_search.index import files

ROWS = "rows"
EMBEDDINGS, KNOWN = "f16", "ids"

REWRITE_FROM = 8192
"""Tail and dead rows from which on a base is written anew, or an eighth of it where that is more."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Base:
    """The rows of the file. Embeddings (B, D) float16; known (B, 2) int64: image_id, microseconds."""

    note: Mapping[str, Any]
    embeddings: np.ndarray
    known: np.ndarray


class Rows:
    """All rows of a gallery's version by place: first the base's, dead ones among them, then the tail's.

    image_ids: (N,) int64. base: (B, D) float16. tail: (N - B, D) float16. alive: (N,) bool, None if all are.
    """

    def __init__(self, base: Base, known: np.ndarray, tail: np.ndarray) -> None:
        """known: (M, 2) int64 of the version's rows, by image_id; tail: embeddings of those not in `base`."""
        alive = _contains(known, base.known)
        self.saved = base
        self.base = base.embeddings
        self.tail = tail
        self.image_ids = np.concatenate([base.known[:, 0], _not_in(known, base.known)[:, 0]])
        self.alive = None if alive.all() else np.concatenate([alive, np.ones(len(tail), bool)])
        self.count = len(known)
        self._asked: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def open(cls, gallery: Gallery) -> "Rows":
        """Return the rows of the gallery's version; writes the base if there is none that is of use.

        A folder that cannot be written keeps no file; the rows are then in memory alone.
        """
        known = _known(gallery)
        base = _load(gallery)
        if base is None or _is_worn(base, known):
            base = _write(gallery, known)
        return cls(base, known, _tail(gallery, known, base))

    def refreshed(self, gallery: Gallery) -> "Rows":
        """Return the rows of another version of the same gallery; the base is not read again."""
        known = _known(gallery)
        if _is_worn(self.saved, known):
            return self.open(gallery)
        return Rows(self.saved, known, _tail(gallery, known, self.saved))

    def take(self, places: np.ndarray) -> np.ndarray:
        """Return the embeddings at `places`, (n,) of any order, as (n, D) float16."""
        size = len(self.base)
        in_tail = places >= size
        if not in_tail.any():
            return self.base[places]
        taken = np.empty((len(places), self.base.shape[1]), np.float16)
        taken[in_tail] = self.tail[places[in_tail] - size]
        taken[~in_tail] = self.base[places[~in_tail]]
        return taken

    def member(self, allowed: np.ndarray | None) -> np.ndarray | None:
        """Return which places are alive and hold one of the image_ids `allowed`: (N,) bool, None for all."""
        if allowed is None:
            return self.alive
        # The same filter comes again and again while someone pages or refines.
        asked = self._asked
        if asked is None or asked[0] is not allowed:
            member = np.isin(self.image_ids, allowed)
            self._asked = asked = allowed, member if self.alive is None else member & self.alive
        return asked[1]


def _known(gallery: Gallery) -> np.ndarray:
    return np.stack(gallery.row_times(), axis=1)


def _is_worn(base: Base, known: np.ndarray) -> bool:
    """Tell whether so many rows came or went that a new base is worth its writing."""
    alive = int(_contains(known, base.known).sum())
    changed = (len(base.known) - alive) + (len(known) - alive)
    return changed > max(REWRITE_FROM, len(base.known) // 8)


def _tail(gallery: Gallery, known: np.ndarray, base: Base) -> np.ndarray:
    # A copy, for torch wants an array that it could write to.
    return np.array(gallery.stored_embeddings_of(_not_in(known, base.known)[:, 0]))


def _contains(known: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return which of `rows` are among `known`, (n,) bool. Both (n, 2), by image_id."""
    if np.array_equal(known, rows):
        return np.ones(len(rows), bool)
    if not len(known):
        return np.zeros(len(rows), bool)
    place = np.minimum(np.searchsorted(known[:, 0], rows[:, 0]), len(known) - 1)
    return (known[place] == rows).all(axis=1)


def _not_in(known: np.ndarray, base: np.ndarray) -> np.ndarray:
    return known[~_contains(base, known)]


def _load(gallery: Gallery) -> Base | None:
    part = files.load(gallery, ROWS, (EMBEDDINGS, KNOWN))
    if part is None:
        return None
    if part.note["dim"] != gallery.meta.dim:
        for file in part.files.values():
            file.close()
        log.info("the index is of embeddings of another length; building it anew")
        return None
    return _mapped(part, gallery.meta.dim)


def _write(gallery: Gallery, known: np.ndarray) -> Base:
    """Write all rows of the gallery's version as a base, or keep them in memory if that cannot be."""

    def write_embeddings(path: Path) -> None:
        with path.open("wb") as file:
            for batch in gallery.embedding_batches():
                np.ascontiguousarray(batch).tofile(file)

    note = {
        "key": secrets.token_hex(16),  # what a stage that was made of these rows is known by
        "gallery": gallery.state,
        "images": len(known),
        "dim": gallery.meta.dim,
    }
    if len(known):
        part = files.save(gallery, ROWS, note, {EMBEDDINGS: write_embeddings, KNOWN: known.tofile})
        if part is not None:
            return _mapped(part, gallery.meta.dim)
    return Base(note, gallery.embeddings()[1], known)


def _mapped(part: files.Part, dim: int) -> Base:
    return Base(
        part.note,
        _map(part.files[EMBEDDINGS], np.float16, dim),
        np.array(_map(part.files[KNOWN], np.int64, 2)),
    )


def _map(file: BinaryIO, dtype: type, width: int) -> np.ndarray:
    with file:
        # "c", for torch wants an array that it could write to; nobody does.
        return np.memmap(file, dtype, "c").reshape(-1, width)
