"""How far a score stands above what the same query scores elsewhere in the gallery."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medsiglip_search.gallery import Gallery
from medsiglip_search.grouping import Groups

SAMPLED_IMAGES = 1000
"""How many random images of the gallery tell what a query scores where it does not fit."""

SAMPLED_GROUPS, SAMPLED_OF_GROUP = 200, 16
"""The same for cases: so many groups, and at most so many images of each."""

MATCH = 2.75
"""Relevance from which on a hit is said to answer the query."""

NO_SPREAD = 1e-6
"""A standard deviation of cosines that is rounding."""


@dataclass(frozen=True, slots=True)
class Background:
    """What a query scores on a random sample. mean, spread: of the scores; no spread where all are alike."""

    mean: float
    spread: float

    @classmethod
    def of(cls, scores: np.ndarray) -> "Background":
        """scores: (N,), of the sample; there may be none."""
        if not len(scores):
            return cls(0.0, 0.0)
        scores = scores.astype(np.float64)
        spread = float(scores.std())
        return cls(float(scores.mean()), spread if spread > NO_SPREAD else 0.0)

    def relevance(self, scores: np.ndarray) -> np.ndarray:
        """Return by how many spreads `scores` stand above the mean, (N,) float64; 0 without a spread."""
        return (scores - self.mean) / self.spread if self.spread else np.zeros(len(scores))


class ImageSample:
    """Random images of a gallery, the same for every query and every run: relevance can be repeated."""

    def __init__(self, gallery: Gallery) -> None:
        image_ids = gallery.select(None)
        chosen = np.random.default_rng(0).permutation(len(image_ids))[:SAMPLED_IMAGES]
        self._gallery = gallery
        self.image_ids: np.ndarray = image_ids[np.sort(chosen)]
        self.embeddings = gallery.embeddings_of(self.image_ids)

    @cached_property
    def modalities(self) -> np.ndarray:
        """What modality each image has, (N,) text, empty where none is known."""
        instances = self._gallery.instances(self.image_ids) if len(self.image_ids) else []
        return np.array([each.attributes.modality or "" for each in instances], str)

    def background(self, row: np.ndarray) -> Background:
        """row: (D,), a query."""
        return Background.of(self.embeddings @ row)


class GroupSample:
    """Random groups of a gallery's images, for queries that are answered by groups as a whole."""

    def __init__(self, gallery: Gallery, groups: Groups) -> None:
        image_ids = gallery.select(None)
        rng = np.random.default_rng(0)
        shuffled = groups.of(rng.permutation(image_ids)) if len(image_ids) else np.empty(0, np.int64)
        codes = shuffled[np.sort(np.unique(shuffled, return_index=True)[1])][:SAMPLED_GROUPS]
        members = [rng.permutation(groups.members(code))[:SAMPLED_OF_GROUP] for code in codes]
        self._starts = np.cumsum([0, *map(len, members[:-1])])
        self._embeddings = gallery.embeddings_of(np.concatenate([np.empty(0, np.int64), *members]))

    def background(self, rows: np.ndarray) -> Background:
        """rows: (n, D), a case: scored as `ranking.rank` does."""
        if not len(self._embeddings):
            return Background.of(np.empty(0))
        cosines = rows @ self._embeddings.T
        return Background.of(np.maximum.reduceat(cosines, self._starts, axis=1).mean(axis=0))
