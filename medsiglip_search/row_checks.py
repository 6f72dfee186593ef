"""What every row of a gallery must hold."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from medsiglip_search.errors import Reason
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_schema import UNIT_NORM_TOLERANCE

NORM_TOLERANCE = 2 * UNIT_NORM_TOLERANCE
"""What an embedding may be off when it is stored, and what float16 may add."""

OF_IMAGES = (
    "image_id",
    "archive",
    "uri",
    "frame",
    "source_digest",
    "pixel_digest",
    "size",
    "mtime_ns",
    "rows",
    "columns",
    "indexed_at",
    "embedding",
)
OF_REJECTED = ("archive", "uri", "reason", "message", "size", "mtime_ns", "source_digest", "rejected_at")
"""The columns in which no row may be empty."""

Faults = Mapping[str, list[int]]
"""What is wrong, each with the rows it is true of."""


def image_faults(gallery: Gallery) -> tuple[int, Faults]:
    """Return how many images there are, and their faults by image_id."""
    faults: dict[str, list[int]] = defaultdict(list)
    last, ids, frames = 0, [_NONE], [_NONE]
    for batch in gallery.row_batches(OF_IMAGES):
        numbers = batch["image_id"].to_numpy(zero_copy_only=False)
        for column in OF_IMAGES:
            faults[f"no {column}"] += numbers[_is_empty(batch[column])].tolist()
        full = numbers[~_is_empty(batch["embedding"])]
        norms = _norms(batch["embedding"], gallery.meta.dim)
        faults["an embedding that is not finite"] += full[~np.isfinite(norms)].tolist()
        off = np.isfinite(norms) & (np.abs(norms - 1) > NORM_TOLERANCE)
        faults["an embedding whose norm is not 1"] += full[off].tolist()
        faults["an id out of order"] += numbers[np.diff(numbers, prepend=last) <= 0].tolist()
        last = numbers[-1] if len(numbers) else last
        keys = zip(*(batch[column].to_pylist() for column in ("archive", "uri", "frame")), strict=True)
        ids.append(numbers.copy())  # else they would keep the whole batch
        frames.append(np.fromiter(map(hash, keys), np.int64))
    every = np.concatenate(ids)
    _, first = np.unique(np.concatenate(frames), return_index=True)
    faults["the file and frame of an earlier one"] += np.delete(every, first).tolist()
    return len(every), {fault: rows for fault, rows in faults.items() if rows}


def rejected_faults(gallery: Gallery) -> Faults:
    """Return the faults of the rejected rows, counted from 1."""
    faults: dict[str, list[int]] = defaultdict(list)
    start = 1
    for cells in gallery.rejected_batches(*OF_REJECTED):
        for column, values in zip(OF_REJECTED, cells, strict=True):
            faults[f"no {column}"] += [row for row, cell in enumerate(values, start) if cell is None]
        reasons = cells[OF_REJECTED.index("reason")]
        faults["an unknown reason"] += [row for row, one in enumerate(reasons, start) if one not in _REASONS]
        start += len(reasons)
    return {fault: rows for fault, rows in faults.items() if rows}


_NONE = np.empty(0, np.int64)
_REASONS = frozenset(Reason)


def _is_empty(cells: pa.Array) -> np.ndarray:
    return cells.is_null().to_numpy(zero_copy_only=False)


def _norms(embeddings: pa.FixedSizeListArray, dim: int) -> np.ndarray:
    """Return the norms, (n,) float32, of the embeddings that are not empty."""
    rows = embeddings.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return np.linalg.norm(rows.astype(np.float32), axis=1)
