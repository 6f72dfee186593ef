"""What every encoder needs around a torch model: pieces of a batch, errors of memory, rows of norm 1."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch

T = TypeVar("T")

NO_MEMORY = {
    "CUDA error: out of memory": "the device has not the memory for so many pictures",
    "CUBLAS_STATUS_ALLOC_FAILED": "the device has not the memory for so many pictures",
    "DefaultCPUAllocator": "there is not the memory for so many pictures",
    "bad_alloc": "there is not the memory for so many pictures",
    "ailed to allocate": "there is not the memory for so many pictures",
}
"""What torch and OpenVINO say for want of memory, where they have no type for it, and what that comes to."""


def unit(embeddings: torch.Tensor) -> np.ndarray:
    """Return (N, D) float32 rows of L2 norm 1; NaN for a row of zeros."""
    # Not torch's normalize: it leaves a row of zeros as it is, where this gives NaN and is seen.
    rows: np.ndarray = (embeddings.float() / embeddings.float().norm(dim=1, keepdim=True)).cpu().numpy()
    return rows


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the items in their order, at most `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


@contextmanager
def memory_error() -> Iterator[None]:
    """Raise MemoryError for what torch raises instead."""
    try:
        yield
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        raise MemoryError("the device has not the memory for so many pictures") from None
    except RuntimeError as error:
        for said, meant in NO_MEMORY.items():
            if said in str(error):
                raise MemoryError(meant) from None
        raise
