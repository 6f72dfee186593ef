"""What every encoder needs around a torch model: pieces of a batch, errors of memory, rows of norm 1."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import numpy as np
import torch

T = TypeVar("T")

NO_MEMORY = {
    "CUDA error: out of memory": "the device has",
    "CUBLAS_STATUS_ALLOC_FAILED": "the device has",
    "DefaultCPUAllocator": "there is",
    "bad_alloc": "there is",
    "ailed to allocate": "there is",
}
"""What torch and OpenVINO say for want of memory, where they have no type for it, and whose that is."""


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
def memory_error(what: str = "pictures") -> Iterator[None]:
    """Raise MemoryError for what torch raises instead. what: of which there were too many."""
    try:
        yield
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        raise MemoryError(f"the device has not the memory for so many {what}") from None
    except RuntimeError as error:
        for said, whose in NO_MEMORY.items():
            if said in str(error):
                raise MemoryError(f"{whose} not the memory for so many {what}") from None
        raise


def current(device: torch.device) -> AbstractContextManager:
    """Make a GPU the one that new streams and graphs are of; of a processor nothing is made."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
