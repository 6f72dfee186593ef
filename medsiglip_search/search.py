"""Queries in, hits out."""

import os
from collections.abc import Sequence

import numpy as np

from medsiglip_search.encoders import Encoder, load_encoder
from medsiglip_search.errors import InvalidQuery, Unreadable
from medsiglip_search.gallery import Gallery
from medsiglip_search.images.guard import Guard, Limits
from medsiglip_search.index import Index, open_index
from medsiglip_search.records import Hit

QueryImage = str | os.PathLike[str] | bytes | np.ndarray

BACKGROUND_IMAGES = 1000
"""How many random images of the gallery tell what a query scores where it does not fit."""


class Searcher:
    """Answers queries from one version of a gallery."""

    def __init__(self, gallery: Gallery, encoder: Encoder, index: Index, guard: Guard | None = None) -> None:
        """Take the parts as they are; `open` puts them together.

        guard: decodes query images; by default one with a single worker, started for the first of them.
        Raises GalleryMismatch if the encoder is not the gallery's.
        """
        gallery.require(encoder)
        self.gallery = gallery
        self.encoder = encoder
        self.index = index
        self._guard = guard or Guard(workers=1)
        image_ids = gallery.select(None)
        # The same images for every query and every run, so that the relevance of a hit can be repeated.
        chosen = np.random.default_rng(0).permutation(len(image_ids))[:BACKGROUND_IMAGES]
        self._background = gallery.embeddings_of(image_ids[np.sort(chosen)])

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        encoder: str | Encoder | None = None,
        device: str = "auto",
        limits: Limits = Limits(),
    ) -> "Searcher":
        """Open the gallery at `path` with its own encoder, or with this one or the one of this name.

        limits: what decoding a query image may take.
        Raises GalleryNotFound, GalleryDamaged, GalleryMismatch, EncoderUnavailable.
        """
        gallery = Gallery.open(path)
        if encoder is None or isinstance(encoder, str):
            encoder = load_encoder(encoder or gallery.meta.encoder, device).with_spec(gallery.meta.spec)
        gallery.require(encoder)
        return cls(gallery, encoder, open_index(gallery), Guard(1, limits))

    def search(
        self,
        text: str | None = None,
        *,
        images: Sequence[QueryImage] = (),
        like: Sequence[int] = (),
        where: str | None = None,
        top_k: int = 10,
    ) -> list[Hit]:
        """Return the `top_k` best images for all parts of the query together, best first.

        images: files, their bytes, or (H, W, 3) uint8 pictures; of a file with several frames the middle one.
        like: image_ids of this gallery, which are not hits themselves. where: a condition in SQL over
        `gallery.columns()` that every hit fits.
        Parts count equally: their unit embeddings are averaged. Equal scores are ordered by image_id.
        Raises InvalidQuery.
        """
        if top_k < 1:
            raise InvalidQuery(f"top_k is {top_k}; ask for at least 1 hit")
        query = self._embed(text, images, like)
        allowed = None if where is None else self.gallery.select(where)
        # The images asked about may be among the best; room for them, and then they go.
        scores, image_ids = self.index.search(query[None], top_k + len(set(like)), allowed)
        kept = ~np.isin(image_ids[0], np.asarray(like, np.int64))
        scores, image_ids = scores[0, kept][:top_k], image_ids[0, kept][:top_k]
        relevance = self._relevance(query, scores)
        return [
            Hit(instance, float(score), float(above), rank)
            for rank, (instance, score, above) in enumerate(
                zip(self.gallery.instances(image_ids), scores, relevance, strict=True), start=1
            )
        ]

    def _embed(self, text: str | None, images: Sequence[QueryImage], like: Sequence[int]) -> np.ndarray:
        """Return the (D,) float32 unit embedding of the query."""
        parts = []
        if text is not None:
            if not text.strip():
                raise InvalidQuery("the text is empty; say what to look for")
            if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
                raise InvalidQuery("the text is not UTF-8; write it in UTF-8")
            parts.append(self.encoder.embed_texts([text]))
        if len(images):
            try:
                parts.append(self.encoder.embed_images([self._pixels(image) for image in images]))
            except Unreadable as error:
                why = str(error).rstrip(".")
                raise InvalidQuery(f"query image: {error.reason}: {why}. Use another picture") from None
        if len(like):
            parts.append(self.gallery.embeddings_of(like))
        if not parts:
            raise InvalidQuery("nothing to look for; give a text, an image, or the id of a stored image")
        mean = np.concatenate(parts).mean(axis=0, dtype=np.float64)
        norm = np.linalg.norm(mean)
        if not norm > 1e-6:
            raise InvalidQuery("its parts cancel out, or the encoder failed on it; ask for one part alone")
        return (mean / norm).astype(np.float32)

    def _pixels(self, image: QueryImage) -> np.ndarray:
        """Return a query image as (H, W, 3) uint8, read as the gallery's own were. Raises Unreadable."""
        if not isinstance(image, np.ndarray):
            return self._guard.read(image, self.gallery.meta.spec.rendering).pixels
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InvalidQuery(f"query image: {image.dtype} of shape {image.shape}; give uint8 of (H, W, 3)")
        return image

    def _relevance(self, query: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return by how many standard deviations scores stand above the background's; 0 where it has none."""
        if not len(scores):
            return np.empty(0)
        background = (self._background @ query).astype(np.float64)
        spread = background.std()
        return (scores - background.mean()) / spread if spread > 1e-6 else np.zeros(len(scores))
