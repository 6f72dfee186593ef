"""The best images, or the best groups of images, for queries that are embedded.

A query of one row ranks groups by their best image. A case, of several rows, ranks them by the mean over its
rows of the best image for each: a blurred mean of its pictures would look for none of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medsiglip_search.gallery import Gallery
from medsiglip_search.index import Index
from medsiglip_search.querying.grouping import Groups, among, firsts

SPARE = 16
"""Candidates that are fetched beyond those asked for, in case some are duplicates."""

WIDER = 4
"""By how much more candidates are fetched where they did not suffice."""

MANY_EXCLUDED = 1000
"""Where more images than these are no hits, the index is asked for the others; else they are fetched too."""

MAX_CASE_CANDIDATES = 1024
"""For each picture of a case no more candidates are fetched to prove that no other group is nearer."""

ROWS_AT_ONCE = 8192
"""Embeddings of candidates that are in memory at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is to be ranked.

    rows: (n, D) float32 unit rows. excluded: image_ids that are no hits, ascending.
    groups: what a hit stands for; duplicates: images of equal pixels, of which the lowest image_id in each
        group counts.
    count: how many groups are wanted.
    """

    rows: np.ndarray
    excluded: np.ndarray
    groups: Groups
    duplicates: Groups
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The best groups, best first, equal scores by image_id: scores (k,) and the best image of each, (k,)."""

    scores: np.ndarray
    image_ids: np.ndarray


def rank(gallery: Gallery, index: Index, asked: Sequence[Asked], allowed: np.ndarray | None) -> list[Ranked]:
    """Return the answer to each of `asked`; all rows are looked up at once.

    allowed: image_ids that may be hits, ascending; all of the gallery if None.
    """
    answers: list[Ranked | None] = [
        _without_excluded(gallery, index, each, allowed) if len(each.excluded) > MANY_EXCLUDED else None
        for each in asked
    ]
    rows = len(gallery) if allowed is None else len(allowed)
    depth = max((each.count + min(len(each.excluded), MANY_EXCLUDED) + SPARE for each in asked), default=0)
    while open_ones := [number for number, answer in enumerate(answers) if answer is None]:
        scores, image_ids = index.search(np.concatenate([asked[n].rows for n in open_ones]), depth, allowed)
        at = 0
        for number in open_ones:
            end = at + len(asked[number].rows)
            answers[number] = _settled(
                gallery, asked[number], scores[at:end], image_ids[at:end], allowed, is_all=depth >= rows
            )
            at = end
        depth = min(depth * WIDER, max(rows, 1))
    return [answer for answer in answers if answer is not None]


def _without_excluded(gallery: Gallery, index: Index, asked: Asked, allowed: np.ndarray | None) -> Ranked:
    image_ids = gallery.select(None) if allowed is None else allowed
    left = image_ids[~among(image_ids, asked.excluded)]
    return rank(gallery, index, [replace(asked, excluded=np.empty(0, np.int64))], left)[0]


def _settled(
    gallery: Gallery,
    asked: Asked,
    scores: np.ndarray,
    image_ids: np.ndarray,
    allowed: np.ndarray | None,
    is_all: bool,
) -> Ranked | None:
    """Return the best groups if these candidates, (n, k), suffice to know them, else None.

    is_all: there are no further candidates.
    """
    kept = ~among(image_ids, asked.excluded)
    if len(asked.rows) == 1:
        scores, image_ids = scores[kept], image_ids[kept]
        counts = _counts_for_its_pixels(asked, image_ids, allowed)
        scores, image_ids = scores[counts], image_ids[counts]
        best = firsts(asked.groups.of(image_ids))[: asked.count]
        if is_all or len(best) == asked.count or len(best) == asked.groups.count(allowed, asked.excluded):
            return Ranked(scores[best], image_ids[best])
        return None
    found = _of_cases(gallery, asked, np.unique(asked.groups.of(image_ids[kept])), allowed)
    # Every image of a group that is no candidate scores below the last candidate of each row.
    bound = scores[:, -1].mean(dtype=np.float64) if scores.shape[1] else -1.0
    if len(found.scores) >= asked.count:
        suffices = found.scores[asked.count - 1] > bound or scores.shape[1] >= MAX_CASE_CANDIDATES
    else:
        suffices = len(found.scores) == asked.groups.count(allowed, asked.excluded)
    if suffices or is_all:
        return Ranked(found.scores[: asked.count], found.image_ids[: asked.count])
    return None


def _counts_for_its_pixels(asked: Asked, image_ids: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
    """Return which of these images are, of those of equal pixels in their group, the lowest, (n,) bool.

    Embeddings of equal pixels may differ in their last digits, so it is not the first that was found.
    """
    counts = np.ones(len(image_ids), bool)
    shared = np.flatnonzero(asked.duplicates.is_shared(image_ids))
    if len(shared):
        same = asked.duplicates.together(image_ids[shared])
        same = same[among(same, allowed) & ~among(same, asked.excluded)]
        groups = np.unique(asked.groups.of(same), return_inverse=True)[1].astype(np.int64)
        pairs = groups * len(same) + np.unique(asked.duplicates.of(same), return_inverse=True)[1]
        counts[shared] = among(image_ids[shared], same[firsts(pairs)])
    return counts


def _of_cases(gallery: Gallery, asked: Asked, codes: np.ndarray, allowed: np.ndarray | None) -> Ranked:
    """Return these groups ranked as answers to a case, each scored by all of its images."""
    scores, image_ids = [], []
    for chunk in _chunks([pictures(asked, code, allowed) for code in codes]):
        starts = np.cumsum([0, *map(len, chunk[:-1])])
        together = np.concatenate(chunk)
        products = asked.rows.astype(np.float64) @ gallery.embeddings_of(together).T.astype(np.float64)
        scores.append(np.maximum.reduceat(products, starts, axis=1).mean(axis=0))
        means = products.mean(axis=0).astype(np.float32)
        for start, ids in zip(starts, chunk, strict=True):
            image_ids.append(ids[means[start : start + len(ids)].argmax()])
    if not scores:
        return Ranked(np.empty(0), np.empty(0, np.int64))
    # As float32: what differs in later digits is the order of summation, and ties break by image_id.
    all_scores, best = np.concatenate(scores).astype(np.float32), np.array(image_ids, np.int64)
    order = np.lexsort((best, -all_scores))
    return Ranked(all_scores[order], best[order])


def members(asked: Asked, groups: Groups, code: int, allowed: np.ndarray | None) -> np.ndarray:
    """Return the image_ids of a group that may be hits, ascending."""
    image_ids = groups.members(code)
    return image_ids[among(image_ids, allowed) & ~among(image_ids, asked.excluded)]


def pictures(asked: Asked, code: int, allowed: np.ndarray | None) -> np.ndarray:
    """Return the image_ids of a group of `asked.groups` that may be hits, each picture once, ascending.

    A picture that the group has several times is the one with the lowest image_id.
    """
    image_ids = members(asked, asked.groups, code, allowed)
    return image_ids[firsts(asked.duplicates.of(image_ids))]


def cosines(gallery: Gallery, image_ids: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return the inner products (N,) of images with a (D,) row, some thousands of them in memory at once."""
    parts = np.split(image_ids, range(ROWS_AT_ONCE, len(image_ids), ROWS_AT_ONCE))
    return np.concatenate([gallery.embeddings_of(part) @ row for part in parts])


def _chunks(groups: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Yield the groups that have members, so many together as may be in memory at once, at least one."""
    chunk: list[np.ndarray] = []
    rows = 0
    for group in groups:
        if chunk and rows + len(group) > ROWS_AT_ONCE:
            yield chunk
            chunk, rows = [], 0
        if len(group):
            chunk.append(group)
            rows += len(group)
    if chunk:
        yield chunk
