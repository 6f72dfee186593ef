"""Pictures to the encoder, and what to do when it does not take them."""

from collections.abc import Sequence

import numpy as np

from medsiglip_search.encoders import Encoder
from medsiglip_search.errors import EncoderFailed, EncoderUnavailable, Reason, Unreadable

Outcome = np.ndarray | Unreadable
"""The embedding of a picture, (D,) float32, or why the encoder has none for it."""


class Embedder:
    """An encoder that is given fewer pictures at once where it has no memory for more.

    size: how many at most.
    """

    def __init__(self, encoder: Encoder, size: int) -> None:
        self.size = size
        self._encoder = encoder

    def embed(self, images: Sequence[np.ndarray]) -> list[Outcome]:
        """Return the outcome of each picture, (H, W, 3) uint8. Raises EncoderFailed, EncoderUnavailable."""
        outcomes: list[Outcome] = []
        while len(outcomes) < len(images):
            outcomes += self._some(images[len(outcomes) :][: self.size])
        return outcomes

    def _some(self, images: Sequence[np.ndarray]) -> list[Outcome]:
        """Return the outcomes of these pictures, or of none of them if there is not the memory."""
        try:
            return [_outcome(row) for row in self._rows(images)]
        except Unreadable as error:
            if len(images) == 1:
                return [error]
        except (EncoderFailed, EncoderUnavailable):
            raise
        except MemoryError as error:
            if len(images) == 1:
                raise self._failed("there is not enough memory for one picture") from error
            self.size = len(images) // 2
            return []
        except Exception as error:  # of torch, of a driver, of an encoder from elsewhere
            raise self._failed(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
        # One of them spoils the batch.
        return [outcome for image in images for outcome in self._some([image])]

    def _rows(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return the embeddings of these pictures, (N, D) float32. Raises EncoderFailed for anything else."""
        rows = np.asarray(self._encoder.embed_images(images))
        shape = len(images), self._encoder.dim
        if rows.shape != shape or not np.issubdtype(rows.dtype, np.floating):
            raise self._failed(f"it returned {rows.dtype} {rows.shape} where float {shape} was asked for")
        return rows.astype(np.float32, copy=False)

    def _failed(self, why: str) -> EncoderFailed:
        return EncoderFailed(
            f"{self._encoder.name}: embeds no more pictures: {why}. What was embedded is kept; mend that, or "
            "choose another --device or a smaller --batch-size, and run again to go on"
        )


def _outcome(embedding: np.ndarray) -> Outcome:
    norm = np.linalg.norm(embedding)
    if np.isfinite(norm) and norm > 0:
        return embedding
    return Unreadable(
        Reason.MALFORMED, "Its embedding is not finite, or all zeros. Export it again, or check the encoder."
    )
