"""Attention of heads whose size is no power of two, as a short measurement finds it the fastest."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from medsiglip_search.encoders.image_towers.measuring import fastest
from medsiglip_search.encoders.torch_calls import current

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
"""torch's ways to compute attention; the first of those that take as long is chosen."""

WIDER = (80, 96, 128)
"""What heads may be filled up to with zeros: kernels are written for some sizes, and 72 is not among them."""

MEASURED_PICTURES, WARM_UPS, REPEATS = 8, 2, 5


# Of two that prefer something at the same time, the one that ends last would leave what the other had set.
_preferring = threading.RLock()


@dataclass(frozen=True, slots=True)
class Attention:
    """A way to compute attention. head: the size that each head is filled up to."""

    kernel: str
    head: int

    def __str__(self) -> str:
        return f"attention {self.kernel} {self.head}"

    @contextmanager
    def preferred(self) -> Iterator[None]:
        """Let torch compute attention so where it can; one thread at a time.

        What it prefers is one setting of the process. The math kernel stays allowed, so that what other
        threads compute meanwhile, and the kernel cannot, succeeds all the same. A kernel that cannot be run
        here is measured as that one, then, which others are faster than.
        """
        with _preferring, sdpa_kernel([KERNELS[self.kernel], SDPBackend.MATH], set_priority=True):
            yield


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    scale: float,
    head: int,
) -> torch.Tensor:
    """Return (N, heads, tokens, size) attention, computed with heads filled up to a size of `head`.

    Zeros add nothing to the products of queries and keys, and what they are as values is cut off again.
    """
    size = query.shape[-1]
    if head == size:
        return F.scaled_dot_product_attention(query, key, value, mask, scale=scale)
    query, key, value = (F.pad(part, (0, head - size)) for part in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, mask, scale=scale)[..., :size]


def candidates(size: int) -> list[Attention]:
    """Return the ways that are worth measuring for heads of a size, the most plain first."""
    heads = [size, *(wider for wider in WIDER if size < wider < 2 * size)]
    return [Attention(kernel, head) for head in heads for kernel in KERNELS]


@torch.inference_mode()
def measured(heads: int, tokens: int, size: int, like: torch.Tensor) -> Attention | None:
    """Return the fastest way for a tower's shape, on the device and in the type of `like`."""
    flat = torch.randn(3, MEASURED_PICTURES, tokens, heads * size, dtype=torch.float32, device=like.device)
    # Laid out as the tower's projections leave them.
    query, key, value = flat.to(like.dtype).unflatten(-1, (heads, size)).transpose(2, 3)
    device = torch.get_device_module(like.device)

    def seconds(way: Attention) -> float:
        with way.preferred():
            for turn in range(WARM_UPS + REPEATS):
                if turn == WARM_UPS:
                    device.synchronize()
                    started = time.perf_counter()
                out = attend(query, key, value, None, scale=size**-0.5, head=way.head)
                out.transpose(1, 2).contiguous()
            device.synchronize()
        return (time.perf_counter() - started) / REPEATS

    with current(like.device):
        return fastest(candidates(size), seconds)
