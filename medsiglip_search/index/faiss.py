"""Exact search in float16 with FAISS: the only module that imports it.

The index is a scalar quantizer whose codes are the stored float16 numbers themselves, so nothing is rounded
twice and an inner product differs from float32 arithmetic on the stored embeddings by its last bits only.
It scans one query on one thread and several queries on several. (`distance_compute_blas_threshold` belongs
to `IndexFlat`, which keeps float32: twice the memory.)
"""

import json
import logging
from contextlib import suppress
from hashlib import file_digest, sha256
from typing import Any

import faiss
import numpy as np

from medsiglip_search import checksums, locks
from medsiglip_search.files import UNFINISHED, write_file
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_folder import INDEX, INDEX_LOCK

CODES, NOTE = "exact.faiss", "exact.json"

SUMMATION_ERROR = 1e-5
"""Within which the scores of FAISS are right; a sum of 1152 float32 products is off by some 1e-7."""

SPARE_ROWS = 16

log = logging.getLogger(__name__)


class ExactIndex:
    """Compares a query with every embedding; implements `Index`."""

    def __init__(self, image_ids: np.ndarray, codes: faiss.IndexScalarQuantizer) -> None:
        """image_ids: (N,) int64 ascending; codes: their N embeddings in the same order."""
        self._image_ids = image_ids
        self._codes = codes
        self._rows = _rows(codes)

    @classmethod
    def open(cls, gallery: Gallery) -> "ExactIndex":
        """Load the gallery's index file if it is of this version and undamaged, else build it and save it.

        A folder that cannot be written keeps no file; the index is then in memory alone.
        """
        image_ids = gallery.select(None)
        stamp = {"gallery": gallery.state, "images": len(image_ids), "dim": gallery.meta.dim}
        codes = _load(gallery, stamp)
        if codes is None:
            codes = _build(gallery)
            if len(image_ids):
                _save(gallery, stamp, codes)
        return cls(image_ids, codes)

    def search(
        self, queries: np.ndarray, top_k: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and image_ids as `Index` says."""
        queries = np.ascontiguousarray(queries, np.float32)
        selector, count = self._selector(allowed)
        k = min(top_k, count)
        if not k:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        # FAISS sums in an order that depends on where a row lies, so equal rows differ in the last bits of
        # their score, and of exactly equal scores it keeps any. So it is asked for more, and those are scored
        # again, each row alike.
        fetched = min(k + SPARE_ROWS, count)
        near_scores, near = self._codes.search(queries, fetched, params=selector)
        scores = np.empty((len(queries), k), np.float32)
        places = np.empty((len(queries), k), np.int64)
        for number, query in enumerate(queries):
            candidates = near[number]
            cut = near_scores[number, k - 1] - SUMMATION_ERROR
            if fetched < count and near_scores[number, -1] >= cut:
                _, _, candidates = self._codes.range_search(query[None], cut, params=selector)
            exact = self._scores(query, candidates)
            best = np.lexsort((candidates, -exact))[:k]
            scores[number], places[number] = exact[best], candidates[best]
        return scores, self._image_ids[places]

    def _scores(self, query: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the inner products of the rows at `places`, summed in float64, as (n,) float32."""
        scores = np.empty(len(places), np.float32)
        for start in range(0, len(places), 4096):  # bounds the memory of decoded rows
            block = places[start : start + 4096]
            scores[start : start + 4096] = self._rows[block].astype(np.float64) @ query.astype(np.float64)
        return scores

    def _selector(self, allowed: np.ndarray | None) -> tuple[faiss.SearchParameters | None, int]:
        """Return what restricts a search to `allowed`, and to how many rows."""
        if allowed is None:
            return None, len(self._image_ids)
        member = np.isin(self._image_ids, allowed)
        bits = np.packbits(member, bitorder="little")
        # FAISS declares the signatures of C++; Python's take the array, and keep it alive.
        selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]
        return faiss.SearchParameters(sel=selector), int(member.sum())  # type: ignore[call-arg]


def _build(gallery: Gallery) -> faiss.IndexScalarQuantizer:
    size, dim = len(gallery.select(None)), gallery.meta.dim
    codes = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    # Filled in place: adding piece by piece would move all codes each time and need twice the memory.
    codes.codes.resize(size * codes.code_size)
    codes.ntotal = size
    start = 0
    rows = _rows(codes)
    for batch in gallery.embedding_batches():
        rows[start : start + len(batch)] = batch
        start += len(batch)
    return codes


def _rows(codes: faiss.IndexScalarQuantizer) -> np.ndarray:
    """Return the codes as they lie in memory, (N, D) float16; valid as long as `codes` is."""
    if not codes.ntotal:
        return np.empty((0, codes.d), np.float16)
    memory = faiss.rev_swig_ptr(codes.codes.data(), codes.ntotal * codes.code_size)
    return memory.view(np.float16).reshape(codes.ntotal, codes.d)


def _load(gallery: Gallery, stamp: dict[str, Any]) -> faiss.IndexScalarQuantizer | None:
    """Return the saved codes if their note says `stamp` and the checksums fit, else None."""
    folder = gallery.path / INDEX
    try:
        note = (folder / NOTE).read_bytes()
        digests = checksums.read_list(folder).digests
        if digests.get(NOTE) == sha256(note).hexdigest():
            if json.loads(note) != stamp:
                log.info("the index is of another version of the gallery; building it anew")
                return None
            # FAISS reads a damaged file without a word. Checked and read through one descriptor, because
            # another process may put a newer file in its place.
            with (folder / CODES).open("rb") as file:
                if digests.get(CODES) == file_digest(file, "sha256").hexdigest():
                    file.seek(0)
                    reader = faiss.PyCallbackIOReader(file.read, 1 << 22)  # type: ignore[attr-defined]
                    codes = faiss.read_index(reader)
                    if isinstance(codes, faiss.IndexScalarQuantizer):
                        return codes
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RuntimeError):
        pass
    if locks.is_unfinished(gallery.path / INDEX_LOCK):
        log.info("the index was not yet saved as a whole; building it anew")
    else:
        log.warning("the index file is damaged; building it anew")
    return None


def _save(gallery: Gallery, stamp: dict[str, Any], codes: faiss.IndexScalarQuantizer) -> None:
    """Write the codes, their note and, after them, the list that vouches for both."""
    folder = gallery.path / INDEX
    unfinished = folder / (CODES + UNFINISHED)
    try:
        folder.mkdir(exist_ok=True)
        with locks.exclusive(gallery.path / INDEX_LOCK) as hold:
            # What was deleted since must not come back to the disk; `GalleryWriter.purge` waits for the lock.
            if gallery.is_newest:
                faiss.write_index(codes, str(unfinished))
                unfinished.replace(folder / CODES)
                write_file(folder / NOTE, json.dumps(stamp, indent=2).encode())
                checksums.write_list(folder, checksums.digests_of(folder, (CODES, NOTE)))
            hold.finish()
    except locks.Held:
        log.info("another process is saving the index")
    except (OSError, RuntimeError) as error:
        log.info("the index is kept in memory, for it cannot be saved: %s", error)
        with suppress(OSError):
            unfinished.unlink()
