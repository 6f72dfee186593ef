"""Scores of images pooled over the study, series or patient that they belong to."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.gallery import Gallery
from medsiglip_search.labelling.run import BLOCK_ROWS, LabelledBlock, labelled_blocks
from medsiglip_search.labels import Mode
from medsiglip_search.labels.labeller import Labeller
from medsiglip_search.querying.grouping import Groups

GroupBy = Literal["study", "series", "patient"]
Pool = Literal["max", "mean"]

POOLS: dict[Mode, Pool] = {"findings": "max", "exclusive": "mean"}
"""What is seen in any image of a study is there; what it is a picture of, all of them tell together."""


def group_keys(group_by: GroupBy) -> pa.Schema:
    """Return the columns that name a group.

    The identifier as the gallery has it, null for an image without; how many images the group has; the first.
    """
    return pa.schema([(group_by, pa.string()), ("images", pa.int32()), ("first_image_id", pa.int64())])


def labelled_groups(
    gallery: Gallery,
    labeller: Labeller,
    group_by: GroupBy,
    *,
    pool: Pool | None = None,
    where: str | None = None,
) -> Iterator[LabelledBlock]:
    """Yield the groups that have an image that fits `where`, those together whose last images are together.

    An image without the identifier is a group of its own. pool: how scores of the images become those of the
    group, `POOLS` by default; probabilities and decisions are made of these.
    where: a condition as in `Gallery.select`; images that do not fit do not count. Raises InvalidQuery.
    Takes 24 bytes for each image of the gallery, and the scores of the groups of which some images, but not
    all, have come.
    """
    if group_by not in get_args(GroupBy):
        raise InvalidQuery(f"groups by {group_by!r}: use {', '.join(get_args(GroupBy))}")
    chosen = pool or POOLS[labeller.classifier.mode]
    codes = Groups.read(gallery, group_by).of(gallery.select(where))
    pooled = _Pooled(codes, len(labeller.classifier.labels), chosen)
    start = 0
    waiting: list[_Done] = []
    for block in labelled_blocks(gallery, labeller, where=where, columns=("image_id", group_by)):
        waiting.append(pooled.add(start, block, block.keys[group_by]))
        start += len(block)
        # Groups are fewer than images: blocks of them are filled up.
        if sum(len(done.counts) for done in waiting) >= BLOCK_ROWS or start == len(codes):
            yield _block(labeller, group_by, waiting)
            waiting = []


def count_groups(gallery: Gallery, group_by: GroupBy, where: str | None = None) -> int:
    """Return how many groups `labelled_groups` yields. Raises InvalidQuery."""
    return len(np.unique(Groups.read(gallery, group_by).of(gallery.select(where))))


@dataclass(frozen=True, slots=True, eq=False)
class _Done:
    """Groups all of whose images have come. names: the identifiers; first_ids: of their first images."""

    scores: np.ndarray
    counts: np.ndarray
    first_ids: np.ndarray
    names: pa.Array


class _Pooled:
    """The scores of groups that are not complete, in slots that are used again."""

    def __init__(self, codes: np.ndarray, labels: int, pool: Pool) -> None:
        """codes: (N,) the group of each image that will be added, in their order."""
        groups, self._codes = np.unique(codes, return_inverse=True)
        self._last = np.zeros(len(groups), np.int64)
        self._last[self._codes] = np.arange(len(codes))
        self._slot = np.full(len(groups), -1)
        self._free: list[int] = []
        self._used = 0
        self._pool = pool
        # Many small numbers are added up for a mean.
        self._scores = np.empty((0, labels), np.float32 if pool == "max" else np.float64)
        self._counts = np.empty(0, np.int32)
        self._first_ids = np.empty(0, np.int64)

    def add(self, start: int, block: LabelledBlock, names: pa.Array) -> _Done:
        """Add a block whose first image is number `start`; return the groups whose last image is in it."""
        codes = self._codes[start : start + len(block)]
        order = np.argsort(codes, kind="stable")
        groups, firsts, counts = np.unique(codes[order], return_index=True, return_counts=True)
        scores = block.labelled.scores[order].astype(self._scores.dtype, copy=False)
        image_ids = block.image_ids[order[firsts]]
        is_new = self._slot[groups] < 0
        self._slot[groups[is_new]] = self._taken(int(is_new.sum()))
        slots = self._slot[groups]
        combine = np.maximum if self._pool == "max" else np.add
        in_block = combine.reduceat(scores, firsts, axis=0)
        new, known = slots[is_new], slots[~is_new]
        self._scores[new], self._counts[new], self._first_ids[new] = in_block[is_new], 0, image_ids[is_new]
        self._scores[known] = combine(self._scores[known], in_block[~is_new])
        self._counts[slots] += counts.astype(np.int32)
        is_done = self._last[groups] < start + len(block)
        done = slots[is_done]
        self._free += done.tolist()
        pooled = self._scores[done]
        if self._pool == "mean":
            pooled = pooled / self._counts[done, None]
        of_names = names.take(pa.array(order[firsts][is_done]))
        return _Done(pooled.astype(np.float32), self._counts[done], self._first_ids[done], of_names)

    def _taken(self, count: int) -> np.ndarray:
        """Return so many free slots, (count,)."""
        while len(self._free) < count:
            more = max(BLOCK_ROWS, self._used)
            self._scores = np.concatenate(
                [self._scores, np.empty_like(self._scores, shape=(more, self._scores.shape[1]))]
            )
            self._counts = np.concatenate([self._counts, np.empty(more, np.int32)])
            self._first_ids = np.concatenate([self._first_ids, np.empty(more, np.int64)])
            self._free += range(self._used, self._used + more)
            self._used += more
        taken = self._free[len(self._free) - count :]
        del self._free[len(self._free) - count :]
        return np.array(taken, np.int64)


def _block(labeller: Labeller, group_by: GroupBy, done: list[_Done]) -> LabelledBlock:
    names = pa.concat_arrays([one.names for one in done])
    # Rows from elsewhere have empty text where nothing is known.
    is_known = np.array([bool(name) for name in names.to_pylist()], bool)
    keys = pa.record_batch(
        [
            pa.array(names.to_pylist(), pa.string(), mask=~is_known),
            np.concatenate([one.counts for one in done]),
            np.concatenate([one.first_ids for one in done]),
        ],
        schema=group_keys(group_by),
    )
    return LabelledBlock(keys, labeller.of_scores(np.concatenate([one.scores for one in done])))
