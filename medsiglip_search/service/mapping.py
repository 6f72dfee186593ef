"""A gallery in two dimensions: images whose embeddings are alike lie near each other."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, get_args

import numpy as np

from medsiglip_search.errors import InvalidQuery, Unavailable
from medsiglip_search.gallery import Gallery
from medsiglip_search.service.colouring import Colouring, colouring

Method = Literal["pca", "umap"]
METHODS: tuple[Method, ...] = get_args(Method)

UMAP_SAMPLE = 20_000
"""So many images UMAP arranges; it places the others among them."""

UMAP_BATCH = 2_000

MOST_POINTS = 50_000
"""So many images are drawn, a sample that is always the same one."""

SEED = 0

REMEMBERED = 4
"""So many colourings of a gallery."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Where each image lies. image_ids: (N,) int64 ascending; places: (N, 2) float32 in their order."""

    method: Method
    image_ids: np.ndarray
    places: np.ndarray

    def sample(self, most: int = MOST_POINTS) -> np.ndarray:
        """Return which rows are drawn, ascending: all, or so many of them by chance."""
        if len(self.image_ids) <= most:
            return np.arange(len(self.image_ids))
        drawn = np.random.default_rng(SEED).choice(len(self.image_ids), most, replace=False)
        return np.sort(drawn)

    def unit(self) -> np.ndarray:
        """Return the places as the map shows them, (N, 2) float32: from 0 at the left and below to 1."""
        if not len(self.places):
            return self.places
        low, high = self.places.min(axis=0), self.places.max(axis=0)
        return (self.places - low) / np.where(high > low, high - low, 1)


@dataclass(frozen=True, slots=True)
class Area:
    """A part of a map: a rectangle by two corners, or what a line through three points or more encloses.

    points: as `Projection.unit` has places.
    """

    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        """Raise InvalidQuery for what encloses nothing."""
        if len(self.points) < 2 or not np.isfinite(np.array(self.points, np.float64)).all():
            raise InvalidQuery("the area is none; give two corners of a rectangle, or a line of three points")

    def holds(self, places: np.ndarray) -> np.ndarray:
        """Return (N,) bool: which of the (N, 2) places lie in it, those on the edge of a rectangle too."""
        corners = np.array(self.points, np.float32)
        if len(corners) == 2:
            low, high = corners.min(axis=0), corners.max(axis=0)
            return ((places >= low) & (places <= high)).all(axis=1)
        from matplotlib.path import Path

        return Path(corners).contains_points(places)


class Maps:
    """The projections of one version of a gallery, each made when it is first wanted. For any threads.

    progress: how far UMAP has come, in words; empty where it is done or was never wanted.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._lock = threading.Lock()
        self._pca: Projection | None = None
        self._umap: Projection | None = None
        self._arranging: threading.Thread | None = None
        self._colourings: OrderedDict[str, Colouring] = OrderedDict()
        self.progress = ""

    def projection(self, method: Method) -> Projection:
        """Return a projection; that by PCA while UMAP, which takes minutes, is at work beside it.

        Raises Unavailable where there is no UMAP.
        """
        if method == "umap":
            require_umap()
            with self._lock:
                if self._umap is not None:
                    return self._umap
                if self._arranging is None:
                    self.progress = "is getting ready"
                    self._arranging = threading.Thread(target=self._arrange, name="map", daemon=True)
                    self._arranging.start()
        with self._lock:
            if self._pca is None:
                self._pca = pca(self._gallery)
            return self._pca

    def colouring(self, column: str) -> Colouring:
        """Return a column as colours; the recent ones are remembered."""
        with self._lock:
            if column not in self._colourings:
                self._colourings[column] = colouring(self._gallery, column)
            self._colourings.move_to_end(column)
            if len(self._colourings) > REMEMBERED:
                self._colourings.popitem(last=False)
            return self._colourings[column]

    def wait(self) -> None:
        """Return when UMAP, if it is at work, is done."""
        if self._arranging is not None:
            self._arranging.join()

    def _arrange(self) -> None:
        try:
            self._umap = umap(self._gallery, self._tell)
            self.progress = ""
        except Exception as error:
            self.progress = f"failed ({type(error).__name__}); PCA is shown"

    def _tell(self, progress: str) -> None:
        self.progress = progress


def has_umap() -> bool:
    """Tell whether UMAP is installed."""
    return find_spec("umap") is not None


def require_umap() -> None:
    """Raise Unavailable unless UMAP is installed."""
    if not has_umap():
        raise Unavailable(
            "UMAP, which keeps groups of alike images together, is not installed; an administrator adds it "
            "with pip install 'medsiglip-search[map]', and PCA is there without it"
        )


def pca(gallery: Gallery) -> Projection:
    """Return the two directions in which embeddings differ most, exactly, in two passes over the gallery.

    Of the two senses of a direction the one in which its longest part is positive.
    """
    image_ids = gallery.select(None)
    if len(image_ids) < 2:
        return Projection("pca", image_ids, np.zeros((len(image_ids), 2), np.float32))
    dim = gallery.meta.dim
    count, total, products = 0, np.zeros(dim), np.zeros((dim, dim))
    start: np.ndarray | None = None
    for rows in _embeddings(gallery):
        # Of embeddings less a point among them: their mean is far from zero, and would take the precision.
        start = rows.mean(axis=0) if start is None else start
        moved = rows - start
        count += len(moved)
        total += moved.sum(axis=0, dtype=np.float64)
        products += moved.T @ moved
    assert start is not None, "a gallery of several images has a batch"
    mean = total / count
    covariance = products / count - np.outer(mean, mean)
    _, directions = np.linalg.eigh(covariance)
    axes = directions[:, :-3:-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    if axes.shape[1] < 2:
        axes = np.pad(axes, ((0, 0), (0, 1)))
    centre = (start + mean).astype(np.float32)
    axes = axes.astype(np.float32)
    places = [(rows - centre) @ axes for rows in _embeddings(gallery)]
    return Projection("pca", image_ids, np.concatenate(places))


def umap(gallery: Gallery, tell: Callable[[str], None]) -> Projection:
    """Return what UMAP makes of a gallery: of a sample where it is large, and of the others placed among it.

    tell: takes how far it has come, in words.
    """
    from umap import UMAP

    image_ids, embeddings = gallery.embeddings()
    if len(image_ids) < 4:  # no neighbourhoods
        return pca(gallery)
    rng = np.random.default_rng(SEED)
    chosen = np.sort(rng.permutation(len(image_ids))[:UMAP_SAMPLE])
    tell(f"arranges {len(chosen):,} images")
    arranger = UMAP(
        n_neighbors=min(15, len(chosen) - 1), metric="cosine", random_state=SEED, n_jobs=1, init="pca"
    )
    places = np.empty((len(image_ids), 2), np.float32)
    places[chosen] = arranger.fit_transform(embeddings[chosen].astype(np.float32))
    others = np.setdiff1d(np.arange(len(image_ids)), chosen)
    for begin in range(0, len(others), UMAP_BATCH):
        tell(f"places {begin:,} of {len(others):,} more images")
        batch = others[begin : begin + UMAP_BATCH]
        places[batch] = arranger.transform(embeddings[batch].astype(np.float32))
    return Projection("umap", image_ids, places)


def _embeddings(gallery: Gallery) -> Iterator[np.ndarray]:
    for batch in gallery.embedding_batches():
        if len(batch):
            yield batch.astype(np.float32)
