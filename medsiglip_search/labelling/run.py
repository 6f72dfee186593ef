"""The one loop: stored embeddings in, labelled blocks out."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from medsiglip_search.gallery import Gallery
from medsiglip_search.labels.labeller import Labelled, Labeller

BLOCK_ROWS = 2048
"""Images labelled together. What a block of this size comes to stays in the processor's cache."""

IMAGE_KEYS = ("image_id", "archive", "uri", "frame")
"""The columns that name an image."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledBlock:
    """N images, or groups of them, and what their labels come to.

    keys: the columns that name them, N rows. labelled: N rows too.
    """

    keys: pa.RecordBatch
    labelled: Labelled

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def image_ids(self) -> np.ndarray:
        """Return the images' own, (N,) int64; of blocks whose keys have them."""
        return self.keys["image_id"].to_numpy()


def labelled_blocks(
    gallery: Gallery,
    labeller: Labeller,
    *,
    where: str | None = None,
    columns: Sequence[str] = IMAGE_KEYS,
    start: int = 0,
) -> Iterator[LabelledBlock]:
    """Yield the images that fit `where`, in the order of their ids, a block at a time.

    where: a condition as in `Gallery.select`. columns: what the keys hold, image_id first. start: how many of
    the images to pass over; where that is whole blocks, all others are as in a run from the first.
    Raises InvalidQuery.
    """
    yield from _in_pool(labeller, in_blocks(gallery.row_batches([*columns, "embedding"], where, start)))


def in_blocks(batches: Iterable[pa.RecordBatch], rows: int = BLOCK_ROWS) -> Iterator[pa.RecordBatch]:
    """Yield the same rows, so many at a time; the last ones may be fewer."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + len(batch) >= rows:
            missing = rows - count
            yield _joined([*waiting, batch.slice(0, missing)])
            waiting, count, batch = [], 0, batch.slice(missing)
        if len(batch):
            waiting.append(batch)
            count += len(batch)
    if waiting:
        yield _joined(waiting)


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _in_pool(labeller: Labeller, blocks: Iterable[pa.RecordBatch]) -> Iterator[LabelledBlock]:
    """Label blocks side by side, and yield them in their order."""
    from medsiglip_search.devices import lone_threads

    waiting: deque[Future[LabelledBlock]] = deque()
    pool, workers = lone_threads("label")
    with pool:
        try:
            for block in blocks:
                waiting.append(pool.submit(_labelled, labeller, block))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _labelled(labeller: Labeller, rows: pa.RecordBatch) -> LabelledBlock:
    labelled = labeller.label(float32(rows["embedding"]))
    return LabelledBlock(rows.drop_columns(["embedding"]), labelled)


def float32(embeddings: pa.FixedSizeListArray) -> np.ndarray:
    """Return stored embeddings as (N, D) float32."""
    import torch

    # Five times as fast as NumPy's conversion.
    return torch.from_dlpack(embeddings.flatten()).float().numpy().reshape(len(embeddings), -1)
