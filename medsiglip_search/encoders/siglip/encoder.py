"""MedSigLIP, and every SigLIP of the published file layout, through transformers.

Pictures and text go in as in training: the text padded to its full length, and no attention mask.
"""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from medsiglip_search.encoders.calibration import Sample
from medsiglip_search.encoders.patches import each_alone
from medsiglip_search.encoders.precision import chosen, target
from medsiglip_search.encoders.preprocess import stacked
from medsiglip_search.encoders.siglip.checkpoint import SiglipCheckpoint, read_checkpoint
from medsiglip_search.encoders.siglip.towers import SiglipTowers
from medsiglip_search.encoders.torch_calls import chunks, memory_error, unit
from medsiglip_search.encoders.two_towers import TwoTowers
from medsiglip_search.errors import Reason, Unreadable


class SiglipEncoder(TwoTowers):
    """A SigLIP checkpoint as an `Encoder`. Each tower is loaded when it is first needed."""

    def __init__(
        self, checkpoint: SiglipCheckpoint, towers: SiglipTowers, *, name: str, revision: str
    ) -> None:
        self._towers = towers
        self._tokenizer = checkpoint.tokenizer
        # Padding and truncation are settings of the tokenizer, which each of its calls changes.
        self._tokenizing = threading.Lock()
        super().__init__(
            name=name,
            revision=revision,
            weights_digest=checkpoint.weights.digest,
            dim=checkpoint.dim,
            spec=checkpoint.spec,
            batch_size=towers.batch_size,
            logit=(checkpoint.scale, checkpoint.bias),
            text_length=checkpoint.text_length,
            pool_images=lambda images, spec: towers.images.pooled(images, spec),
            count_tokens=self.count_tokens,
            embed_fitting=self._embed_fitting,
        )

    @property
    def patch_rows(self) -> int:
        """How many rows of patches, and as many columns, the tower cuts a picture into."""
        return self._towers.vision.rows

    @torch.inference_mode()
    def patch_scores(self, images: Sequence[np.ndarray], texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (N, T, R, R) float32 cosines and (N, R, R) float32 attention of each picture's patches.

        images: as for `embed_images`. texts: (T, D) float32, of L2 norm 1. R: `patch_rows`, the first above.
        The cosines are those of what the pooling head says of a patch alone; the attention, how much it looks
        at each for the embedding of the picture, sums to 1.
        Raises Unreadable(malformed) when one is not finite, MemoryError as `embed_images` does.
        """
        tower = self._towers.vision
        rows = tower.rows
        queries = torch.from_numpy(texts).to(tower.model.device)
        cosines = [np.empty((0, len(texts), rows, rows), np.float32)]
        attention = [np.empty((0, rows, rows), np.float32)]
        with memory_error():
            for chunk in chunks(images, self._towers.torch_together):
                tokens = tower.tokens(stacked(chunk, self.spec).to(tower.model.device))
                said, weights = each_alone(tower.model.head, tokens)
                scores = queries @ said.transpose(1, 2)
                cosines.append(scores.unflatten(-1, (rows, rows)).cpu().numpy())
                attention.append(weights.unflatten(-1, (rows, rows)).cpu().numpy())
        if not all(np.isfinite(part).all() for part in cosines + attention):
            raise Unreadable(Reason.MALFORMED, "the encoder gives no finite number for some of the patches")
        return np.concatenate(cosines), np.concatenate(attention)

    def _embed_fitting(self, texts: Sequence[str]) -> np.ndarray:
        tower = self._towers.text
        rows = [np.empty((0, self.dim), np.float32)]
        for chunk in chunks(texts, self._towers.torch_together):
            with memory_error("texts"):
                rows.append(unit(tower.pooled(self.tokenize(chunk))))
        return np.concatenate(rows)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, its end included, however many. For any thread."""
        with self._tokenizing:
            return [len(ids) for ids in self._tokenizer(list(texts), verbose=False)["input_ids"]]

    def tokenize(self, texts: Sequence[str]) -> torch.Tensor:
        """Return (N, L) int64 token ids, padded and cut to the text tower's length L. For any thread."""
        with self._tokenizing:
            encoded = self._tokenizer(
                list(texts), padding="max_length", truncation=True, max_length=self.text_length
            )
        return torch.tensor(encoded["input_ids"])


def load_siglip(
    folder: Path,
    *,
    name: str,
    revision: str,
    device: str = "auto",
    precision: str = "auto",
    sample: Sample | None = None,
) -> SiglipEncoder:
    """Return the encoder of a checkpoint folder: config.json, safetensors, tokenizer; no code from it is run.

    precision: see `precision.Precision`; by default, all but the smallest models run in bf16 where the device
        multiplies it, everything else in fp32.
    sample: pictures that a reduced precision is calibrated on, and must prove itself on; see `Sample`.
    Raises EncoderUnavailable when a part is missing or damaged, the checkpoint is not a SigLIP, or a reduced
    precision changes embeddings too much.
    """
    checkpoint = read_checkpoint(folder)
    on = target(device)
    computed = chosen(precision, on, checkpoint.weights.parameters)
    towers = SiglipTowers(checkpoint, on, computed, sample)
    return SiglipEncoder(checkpoint, towers, name=name, revision=revision)
