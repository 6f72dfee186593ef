"""Generated embeddings that lie as those of pictures do: in clusters, each with directions of its own."""

from collections.abc import Iterator

import numpy as np

CLUSTERS, FAMILIES, BASES, DIRECTIONS = 2000, 32, 50, 24
SPREAD, NOISE = 0.7, 0.35
TEXT_GAP = 0.8
"""How far texts lie from the pictures they fit, beside their own length: two towers do not share a place."""


class Vectors:
    """Draws unit rows of `dim` numbers, the same for the same `draws`; the clusters are always the same."""

    def __init__(self, dim: int, draws: int = 0) -> None:
        self._rng = np.random.default_rng(0)
        families = self._normal(FAMILIES, dim)
        centres = families[self._rng.integers(0, FAMILIES, CLUSTERS)] + self._normal(CLUSTERS, dim)
        self._centres = _unit(centres)
        self._bases = self._normal(BASES, DIRECTIONS, dim) / np.float32(np.sqrt(dim))
        self._base_of = self._rng.integers(0, BASES, CLUSTERS)
        sizes = np.arange(1, CLUSTERS + 1) ** -0.5
        self._share = sizes / sizes.sum()
        self._gap = _unit(self._normal(1, dim))
        if draws:
            self._rng = np.random.default_rng((0, draws))

    def images(self, count: int) -> np.ndarray:
        """Return (count, dim) float32 rows in no order."""
        of = self._rng.choice(CLUSTERS, count, p=self._share)
        rows = self._centres[of] + NOISE / np.sqrt(self._centres.shape[1]) * self._normal(
            count, self._centres.shape[1]
        )
        inside = SPREAD / np.sqrt(DIRECTIONS) * self._normal(count, DIRECTIONS)
        for number, base in enumerate(self._bases):
            chosen = self._base_of[of] == number
            rows[chosen] += inside[chosen] @ base
        return _unit(rows)

    def texts(self, count: int) -> np.ndarray:
        """Return (count, dim) float32 rows near clusters, and all of them some way off in one direction."""
        return _unit(_unit(self.images(count)) + TEXT_GAP * self._gap)

    def blocks(self, count: int, size: int) -> Iterator[np.ndarray]:
        """Yield `images`, at most `size` at a time, `count` in all."""
        for start in range(0, count, size):
            yield self.images(min(size, count - start))

    def _normal(self, *shape: int) -> np.ndarray:
        return self._rng.standard_normal(shape, np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
