"""What every encoder of two towers does alike, whatever the towers are."""

import copy
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch

from medsiglip_search.encoders.texts import CountTokens, EmbedTexts, TextEmbedder
from medsiglip_search.encoders.torch_calls import unit
from medsiglip_search.errors import EncoderUnavailable, GalleryMismatch, Reason, Unreadable
from medsiglip_search.records import PreprocessSpec

PoolImages = Callable[[Sequence[np.ndarray], PreprocessSpec], np.ndarray]
"""What an `ImageTower`'s `pooled` does."""


class TwoTowers:
    """The common part of encoders. text_length: the most tokens of a text that is embedded in one piece."""

    def __init__(
        self,
        *,
        name: str,
        revision: str,
        weights_digest: str,
        dim: int,
        spec: PreprocessSpec,
        batch_size: int,
        logit: tuple[float, float],
        text_length: int,
        pool_images: PoolImages,
        count_tokens: CountTokens,
        embed_fitting: EmbedTexts,
    ) -> None:
        self.name = name
        self.revision = revision
        self.weights_digest = weights_digest
        self.dim = dim
        self.spec = spec
        self.batch_size = batch_size
        self.scale, self.bias = logit
        self.text_length = text_length
        self._pool_images = pool_images
        self._texts = TextEmbedder(count_tokens, self._require_finite(embed_fitting), text_length, dim)

    def with_spec(self, spec: PreprocessSpec) -> Self:
        """Return this encoder for pictures that are prepared as `spec` says; it shares the weights.

        Raises GalleryMismatch if its size or its normalisation is not the checkpoint's.
        """
        own = self.spec
        if (spec.size, spec.mean, spec.std) != (own.size, own.mean, own.std):
            raise GalleryMismatch(
                f"{self.name}: takes pictures of {own.size} x {own.size}, mean {own.mean}, std {own.std}, "
                f"the gallery has {spec.size} x {spec.size}, {spec.mean}, {spec.std}. Pass --encoder "
                "or build a new gallery"
            )
        encoder = copy.copy(self)
        encoder.spec = spec
        return encoder

    def embed_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return (N, D) float32 embeddings of (H, W, 3) uint8 pictures of any sizes, each row of L2 norm 1.

        Raises Unreadable(malformed) when an embedding of these pictures is not finite, MemoryError where the
        device has not the memory for them, EncoderUnavailable where the tower cannot be loaded.
        """
        embeddings = unit(torch.from_numpy(self._pool_images(images, self.spec)))
        if broken := int((~np.isfinite(embeddings).all(axis=1)).sum()):
            message = f"the encoder gives no finite embedding for {broken} of {len(images)} pictures"
            raise Unreadable(Reason.MALFORMED, message)
        return embeddings

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, D) float32 text embeddings, each row of L2 norm 1.

        Text beyond the model's length is taken in parts that are averaged, and a warning logged.
        Raises EncoderUnavailable when an embedding is not finite: the weights must be damaged.
        """
        return self._texts.embed(texts)

    def _require_finite(self, embed: EmbedTexts) -> EmbedTexts:
        name = self.name

        def finite(texts: Sequence[str]) -> np.ndarray:
            embeddings = embed(texts)
            if not np.isfinite(embeddings).all():
                raise EncoderUnavailable(f"{name}: gives text no finite embedding; fetch its weights again")
            return embeddings

        return finite
