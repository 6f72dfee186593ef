"""How far a score stands above what the same query scores elsewhere in the gallery."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medsiglip_search.gallery import Gallery
from medsiglip_search.querying.grouping import Groups

SAMPLED_IMAGES = 1000
"""How many random images of the gallery tell what a query scores where it does not fit."""

SAMPLED_GROUPS, SAMPLED_OF_GROUP = 200, 16
"""The same for cases: so many groups, and at most so many images of each."""

MATCH = 7.3
"""Relevance from which on a hit is said to answer the query.

The best of a million scores that are noise has a relevance of 5. What asks for more is that a query for
something absent finds what comes near it: on synthetic galleries of 60 to 3,000 images those reach 7, and
queries with an answer begin there.
"""

TOO_FEW = 30
"""Images of which so few are no background; in a gallery of fewer, whatever is found is said to match."""

NO_SPREAD = 1e-6
"""A standard deviation of cosines that is rounding."""


@dataclass(frozen=True, slots=True)
class Background:
    """What a query scores on a random sample of the gallery.

    mean: of its scores. unit: by how much the scores of any direction spread over the gallery, 0 where all
    images are alike. It is not the spread of this query's scores: that grows with the answers that there are,
    and would make them look small. Measured, it separates queries with and without an answer far worse.
    """

    mean: float
    unit: float

    def relevance(self, scores: np.ndarray) -> np.ndarray:
        """Return by how many units `scores` stand above the mean, (N,) float64; 0 without a unit."""
        return (scores - self.mean) / self.unit if self.unit else np.zeros(len(scores))


class ImageSample:
    """Random images of a gallery, the same for every query and every run: relevance can be repeated."""

    def __init__(self, gallery: Gallery) -> None:
        image_ids = gallery.select(None)
        chosen = np.random.default_rng(0).permutation(len(image_ids))[:SAMPLED_IMAGES]
        self._gallery = gallery
        self.image_ids: np.ndarray = image_ids[np.sort(chosen)]
        self.embeddings = gallery.embeddings_of(self.image_ids)
        self.unit = _spread_of_directions(self.embeddings)

    @cached_property
    def modalities(self) -> np.ndarray:
        """What modality each image has, (N,) text, empty where none is known."""
        instances = self._gallery.instances(self.image_ids) if len(self.image_ids) else []
        return np.array([each.attributes.modality or "" for each in instances], str)

    @property
    def is_too_small(self) -> bool:
        """Tell whether the gallery has too few images to say what stands out in it."""
        return len(self.image_ids) < TOO_FEW

    def background(self, row: np.ndarray) -> Background:
        """row: (D,), a query."""
        return Background(_mean(self.embeddings @ row), self.unit)


class GroupSample:
    """Random groups of a gallery's images, for queries that are answered by groups as a whole.

    unit: as of the images.
    """

    def __init__(self, gallery: Gallery, groups: Groups, unit: float) -> None:
        self._unit = unit
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
            return Background(0.0, self._unit)
        cosines = rows @ self._embeddings.T
        return Background(_mean(np.maximum.reduceat(cosines, self._starts, axis=1)), self._unit)


def _mean(scores: np.ndarray) -> float:
    return float(scores.mean(dtype=np.float64)) if scores.size else 0.0


def _spread_of_directions(embeddings: np.ndarray) -> float:
    """Return the standard deviation of the cosines of (N, D) rows with a direction, over all directions."""
    if not len(embeddings):
        return 0.0
    # The variances along any axes at right angles add up to the same.
    spread = float(np.sqrt(embeddings.var(axis=0, dtype=np.float64).mean()))
    return spread if spread > NO_SPREAD else 0.0
