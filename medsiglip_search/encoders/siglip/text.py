"""SigLIP's text tower, from token ids to embeddings."""

import threading
from collections.abc import Sequence

import torch
from torch import nn
from transformers import SiglipTextModel

from medsiglip_search.encoders.image_towers.prepared import Prepared, batches
from medsiglip_search.encoders.torch_calls import current

SIZES = (1, 8, 32)
"""Texts of a batch on a GPU: each is a CUDA graph, for a GPU is done sooner than it can be told."""


class TextTower:
    """A SiglipTextModel. For any thread."""

    def __init__(self, model: SiglipTextModel, sizes: Sequence[int] | None = None) -> None:
        """sizes: numbers of texts that it runs, filled up to them; None: whatever number comes."""
        self._device = model.device
        self._plain = _Pooled(model)
        self._sizes = sizes
        self._network = Prepared(self._plain, graphed=max(sizes or SIZES))
        self._computing = threading.Lock()

    @torch.inference_mode()
    def pooled(self, ids: torch.Tensor) -> torch.Tensor:
        """Return (N, D) float32 embeddings, not of norm 1, of (N, L) int64 token ids; on the processor."""
        if self._sizes is None:
            return self._plain(ids.to(self._device)).float().cpu()
        rows = []
        with self._computing, current(self._device):
            start = 0
            for count, size in batches(len(ids), self._sizes):
                part = ids[start : start + count]
                filled = torch.cat([part, part[-1:].expand(size - count, -1)])
                rows.append(self._network(filled.to(self._device))[:count].float().cpu())
                start += count
        return torch.cat(rows)


class _Pooled(nn.Module):
    def __init__(self, model: SiglipTextModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.model(input_ids=ids).pooler_output
        return pooled
