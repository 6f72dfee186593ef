"""Linear layers of 8-bit floats: half the bytes of bfloat16, and twice its speed where a GPU can."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from medsiglip_search.encoders.image_towers.sharing import sharing_weights

if TYPE_CHECKING:
    from medsiglip_search.encoders.siglip.vision import VisionTower

FP8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FP8).max

GRAIN = 16
"""What both sizes of a layer must be a multiple of (cuBLASLt)."""


def quantised(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (N, K) rows as 8-bit floats, and the (N, 1) float32 that each row is to be multiplied by."""
    rows = rows.float()
    scale = (rows.abs().amax(dim=1, keepdim=True) / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
    return (rows / scale).to(FP8), scale


class Fp8Linear(nn.Module):
    """A linear layer in 8-bit floats: weights scaled by output, what comes in by row as it comes.

    The rows of a batch do not touch each other's numbers.
    """

    weight: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = quantised(linear.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale.T.contiguous())
        # Scaled by rows, a product comes out in bfloat16, and its bias goes in so.
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().bfloat16())
        # Sums in the tensor cores' own precision, on GPUs: what that loses, the proof on pictures sees.
        self._fast = linear.weight.is_cuda

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels, scale = quantised(x.flatten(0, -2))
        by_row = F.ScalingType.RowWise
        product = F.scaled_mm(
            levels,
            self.weight.T,
            scale,
            by_row,
            self.scale,
            by_row,
            bias=self.bias,
            output_dtype=torch.bfloat16,
            use_fast_accum=self._fast,
        )
        return product.unflatten(0, x.shape[:-1]).to(x.dtype)


def in_fp8(tower: "VisionTower") -> "VisionTower":
    """Return the tower with the linear layers of its blocks in 8-bit floats; it shares all other weights."""
    tower = sharing_weights(tower)
    for parent in list(tower.model.encoder.modules()):
        for name, child in parent.named_children():
            if (
                isinstance(child, nn.Linear)
                and not child.in_features % GRAIN
                and not child.out_features % GRAIN
            ):
                setattr(parent, name, Fp8Linear(child))
    return tower
