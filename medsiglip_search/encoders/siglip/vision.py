"""SigLIP's vision tower, from grey levels to embeddings: the one network that every way of running it takes.

The layers are transformers' own. What is ours is the beginning: bytes come in as pictures are stored, (rows,
columns, colours), and patches are cut by moving bytes and multiplied once, where a convolution would first
turn the picture inside out.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import SiglipVisionModel

from medsiglip_search.encoders.siglip.attention import fill_heads
from medsiglip_search.records import PreprocessSpec


class VisionTower(nn.Module):
    """A SiglipVisionModel that takes (N, size, size, 3) uint8 pictures, fitted as the spec says."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: SiglipVisionModel, spec: PreprocessSpec) -> None:
        super().__init__()
        config: Any = model.config
        self.model = model
        self.spec = spec
        self.patch = int(config.patch_size)
        self.rows = int(config.image_size) // self.patch
        self.dim = int(config.hidden_size)
        self.heads = int(config.num_attention_heads)
        self.register_buffer("mean", torch.tensor(spec.mean, device=model.device), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std, device=model.device), persistent=False)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """Return (N, D) embeddings, not of norm 1."""
        pooled: torch.Tensor = self.model.head(self.tokens(levels))
        return pooled

    def fill_heads(self, head: int) -> None:
        """Compute attention with heads filled up to a size of `head`, for kernels that are written for it."""
        fill_heads(self.model, head)

    def tokens(self, levels: torch.Tensor) -> torch.Tensor:
        """Return (N, rows * rows, D): what the pooling head reads of each patch."""
        embeddings = self.model.embeddings
        kernel = embeddings.patch_embedding
        patches = self._patches(levels).to(kernel.weight.dtype)
        hidden = (
            F.linear(patches, kernel.weight.flatten(1), kernel.bias) + embeddings.position_embedding.weight
        )
        tokens: torch.Tensor = self.model.post_layernorm(
            self.model.encoder(inputs_embeds=hidden).last_hidden_state
        )
        return tokens

    def _patches(self, levels: torch.Tensor) -> torch.Tensor:
        """Return (N, rows * rows, 3 * patch * patch) float32, normalised, each as the kernel is laid out."""
        rows, patch = self.rows, self.patch
        # A remainder is no patch, as the convolution has it: 384 pixels are 27 patches of 14, and 6 more.
        whole = levels[:, : rows * patch, : rows * patch]
        # In float32, as transformers normalises: the mean is no whole number of grey levels.
        pixels = (whole.float() / 255 - self.mean) / self.std
        cut = pixels.reshape(-1, rows, patch, rows, patch, 3)
        return cut.permute(0, 1, 3, 5, 2, 4).reshape(-1, rows * rows, 3 * patch * patch)
