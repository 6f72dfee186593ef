"""A SigLIP tower whose attention is computed with heads of another size."""

from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel

from medsiglip_search.encoders.image_towers.attention import attend


def fill_heads(model: PreTrainedModel, head: int) -> None:
    """Let a model's attention fill its heads up to a size of `head`; other models are left as they are."""
    name = f"sdpa_with_heads_of_{head}"

    def forward(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        *,
        scaling: float,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        attended = attend(query, key, value, attention_mask, scale=scaling, head=head)
        return attended.transpose(1, 2).contiguous(), None

    AttentionInterface.register(name, forward)
    model.set_attn_implementation(name)
