"""What SigLIP's pooling head reads from each patch of a picture.

The head has one question, the probe, and lets every patch answer it: of what it reads there it makes the
embedding that texts are compared with. So it can be asked what it would say of one patch alone.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F


class Attended(NamedTuple):
    """What the pooling head takes from P patches of B pictures.

    weights: (B, heads, P) float32, how much each attention head looks at each patch; they sum to 1.
    values: (B, heads, P, D / heads), what it reads there.
    """

    weights: torch.Tensor
    values: torch.Tensor


def attended(head: Any, tokens: torch.Tensor) -> Attended:
    """Return what a SiglipMultiheadAttentionPoolingHead takes from (B, P, D) tokens.

    By hand, since torch's MultiheadAttention keeps the values to itself and gives no gradient to the weights.
    """
    attention = head.attention
    of_query, of_key, of_value = attention.in_proj_weight.chunk(3)
    query_bias, key_bias, value_bias = attention.in_proj_bias.chunk(3)

    def by_head(x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)

    query = by_head(F.linear(head.probe, of_query, query_bias))
    keys = by_head(F.linear(tokens, of_key, key_bias))
    values = by_head(F.linear(tokens, of_value, value_bias))
    logits = query @ keys.transpose(-1, -2) / keys.shape[-1] ** 0.5
    return Attended(logits[:, :, 0].float().softmax(dim=-1), values)


def read_out(head: Any, read: torch.Tensor) -> torch.Tensor:
    """Return (..., D) float32 unit embeddings of what the heads have read: (..., heads, D / heads)."""
    joined = head.attention.out_proj(read.flatten(-2))
    return F.normalize((joined + head.mlp(head.layernorm(joined))).float(), dim=-1)


def each_alone(head: Any, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the head says of each patch if it sees no other, and how much it looks at each of them all.

    tokens: (B, P, D). The first is (B, P, D) float32, of L2 norm 1, the second (B, P) float32, of sum 1.
    """
    weights, values = attended(head, tokens)
    return read_out(head, values.transpose(1, 2)), weights.mean(dim=1)
