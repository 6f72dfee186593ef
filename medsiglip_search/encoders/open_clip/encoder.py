"""An OpenCLIP model as an `Encoder`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from medsiglip_search.encoders.image_towers import handed_over, multiplied_together
from medsiglip_search.encoders.image_towers.eager import TorchTower
from medsiglip_search.encoders.open_clip.text import Tokens
from medsiglip_search.encoders.torch_calls import chunks, memory_error, unit
from medsiglip_search.encoders.two_towers import TwoTowers
from medsiglip_search.encoders.weights import Weights
from medsiglip_search.records import PreprocessSpec


class OpenClipEncoder(TwoTowers):
    """An OpenCLIP model as an `Encoder`.

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
        device = next(model.parameters()).device
        self._model = model
        self._tokens = tokens
        self._together = multiplied_together(device, weights.parameters)
        super().__init__(
            name=name,
            revision=revision,
            weights_digest=weights.digest,
            dim=dim,
            spec=spec,
            batch_size=handed_over(device, weights.parameters),
            logit=logit,
            text_length=tokens.length,
            pool_images=TorchTower(_Pictures(model, spec, dim), self._together).pooled,
            count_tokens=tokens.counts,
            embed_fitting=self._embed_fitting,
        )

    @torch.inference_mode()
    def _embed_fitting(self, texts: Sequence[str]) -> np.ndarray:
        device = next(self._model.parameters()).device
        rows = [np.empty((0, self.dim), np.float32)]
        for chunk in chunks(texts, self._together):
            with memory_error("texts"):
                ids = self._tokens.ids(chunk).to(device)
                rows.append(unit(self._model.encode_text(ids, normalize=False)))
        return np.concatenate(rows)


class _Pictures(nn.Module):
    """The model's image tower, from grey levels on; see `Network`."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: Any, spec: PreprocessSpec, dim: int) -> None:
        super().__init__()
        self.model = model
        self.dim = dim
        self.register_buffer("mean", torch.tensor(spec.mean, device=self.device), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std, device=self.device), persistent=False)

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        pixels = ((levels.float() / 255 - self.mean) / self.std).permute(0, 3, 1, 2)
        kind = next(self.model.parameters()).dtype
        encoded: torch.Tensor = self.model.encode_image(pixels.contiguous().to(kind), normalize=False)
        return encoded
