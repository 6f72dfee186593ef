"""An OpenCLIP model as an `Encoder`."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from medsiglip_search.encoders.open_clip.text import Tokens
from medsiglip_search.encoders.preprocess import preprocess
from medsiglip_search.encoders.siglip import FEWEST_TOGETHER, LARGE
from medsiglip_search.encoders.torch_calls import chunks, memory_error, unit
from medsiglip_search.encoders.weights import Weights
from medsiglip_search.errors import EncoderUnavailable, GalleryMismatch, Reason, Unreadable
from medsiglip_search.records import PreprocessSpec

logger = logging.getLogger(__name__)


class OpenClipEncoder:
    """An OpenCLIP model as an `Encoder`.

    text_length: how many tokens of a text it reads.
    scale, bias: the logit of its training; a model that was trained by comparing pairs (CLIP) has no bias.
    """

    def __init__(
        self,
        model: Any,
        tokens: Tokens,
        spec: PreprocessSpec,
        *,
        name: str,
        revision: str,
        weights: Weights,
        dim: int,
        logit: tuple[float, float],
    ) -> None:
        self.name = name
        self.revision = revision
        self.weights_digest = weights.digest
        self.spec = spec
        self.dim = dim
        self.scale, self.bias = logit
        self.text_length = tokens.length
        self._model = model
        self._tokens = tokens
        parameter = next(model.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        # As for SigLIP: one at a time is the fastest that torch does with a large tower on a CPU.
        self.batch_size = 1 if self._device.type == "cpu" and weights.parameters >= LARGE else 32

    def with_spec(self, spec: PreprocessSpec) -> "OpenClipEncoder":
        """Return this encoder for pictures that are prepared as `spec` says; it shares the weights.

        Raises GalleryMismatch if its size or its normalisation is not the model's.
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

    @torch.inference_mode()
    def embed_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return (N, D) float32 embeddings of (H, W, 3) uint8 pictures of any sizes, each row of L2 norm 1.

        Raises Unreadable(malformed) when an embedding of these pictures is not finite, MemoryError where the
        device has not the memory for them.
        """
        rows = [np.empty((0, self.dim), np.float32)]
        with memory_error():
            for chunk in chunks(images, self.batch_size):
                pixels = preprocess(chunk, self.spec, self._device).to(self._dtype)
                rows.append(unit(self._encoded(pixels)))
        embeddings = np.concatenate(rows)
        if broken := int((~np.isfinite(embeddings).all(axis=1)).sum()):
            message = f"the encoder gives no finite embedding for {broken} of {len(images)} pictures"
            raise Unreadable(Reason.MALFORMED, message)
        return embeddings

    def _encoded(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return what the tower makes of (N, 3, size, size), whatever else is in the batch."""
        missing = 0 if self.batch_size == 1 else max(0, FEWEST_TOGETHER - len(pixels))
        # Few pictures are multiplied by other routines than many, which round otherwise.
        filled = torch.cat([pixels, pixels[-1:].expand(missing, -1, -1, -1)]) if missing else pixels
        encoded: torch.Tensor = self._model.encode_image(filled, normalize=False)
        return encoded[: len(pixels)]

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, D) float32 text embeddings, each row of L2 norm 1.

        Text beyond the model's length is cut off, and a warning logged.
        Raises EncoderUnavailable when an embedding is not finite: the weights must be damaged.
        """
        rows = [np.empty((0, self.dim), np.float32)]
        for chunk in chunks(texts, self.batch_size):
            ids = self.tokenize(chunk).to(self._device)
            rows.append(unit(self._model.encode_text(ids, normalize=False)))
        embeddings = np.concatenate(rows)
        if not np.isfinite(embeddings).all():
            raise EncoderUnavailable(f"{self.name}: gives text no finite embedding; fetch its weights again")
        return embeddings

    def tokenize(self, texts: Sequence[str]) -> torch.Tensor:
        """Return (N, text_length) int64 token ids, padded and cut. For any thread."""
        if cut := sum(count > self.text_length for count in self.token_counts(texts)):
            # The text itself stays out of the log: it can name a patient.
            logger.warning(
                "%d of %d texts have more than %d tokens; what goes beyond was cut off",
                cut,
                len(texts),
                self.text_length,
            )
        return self._tokens.ids(texts)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has before it is cut, with those that mark its begin and end."""
        return self._tokens.counts(texts)
