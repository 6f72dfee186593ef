"""A network for inputs of a few shapes: large ones compiled, small ones as one CUDA graph, else as it is."""

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from medsiglip_search.encoders.image_towers.sharing import sharing_weights
from medsiglip_search.transformers_notices import first_line

log = logging.getLogger(__name__)

Backend = str | Callable[..., Any] | None
"""What torch.compile calls a backend; None: nothing is compiled."""

GRAPHED = 8
"""Inputs up to which a processor may take longer to launch kernels than a GPU to run them."""

COMPILED = 32
"""Inputs from which on compiling pays: it takes seconds at the start, for which no query should wait.

In torch's default mode. "max-autotune" measures products instead of asking cuBLAS: it takes minutes, and
chooses by noise between what rounds in different ways, so that two runs would embed a picture differently.
"reduce-overhead" has CUDA graphs for each thread that asks; those here serve all threads."""

# Otherwise all towers of a process share the eight shapes that torch compiles a function for.
APART = (
    {"isolate_recompiles": True}
    if "isolate_recompiles" in inspect.signature(torch.compile).parameters
    else {}
)

FULL_FROM = 3 / 4
"""The part of a batch of a fixed size that must be filled; less is cut into smaller batches."""

SAME = 0.999
"""The least cosine that a replayed graph's rows must have with those of the network that it was made of."""


def batches(count: int, sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield how many of so many inputs go into each batch, and its size: one of these, which rise."""
    while count:
        full = [size for size in sizes if count >= FULL_FROM * size]
        size = full[-1] if full else sizes[0]
        taken = min(count, size)
        yield taken, size
        count -= taken


class Prepared:
    """Runs a network that gives rows. Not for several threads at once; the next call overwrites the rows.

    What a compiler or the capture of a graph fails at is run as it is, and the reason logged, once.
    """

    def __init__(
        self, module: nn.Module, backend: Backend = None, *, compiled: int = COMPILED, graphed: int = GRAPHED
    ) -> None:
        """backend: what compiles.

        compiled: inputs from which on it does. graphed: inputs up to which a GPU gets a graph.
        """
        self._plain = module
        self._compiled = None if backend is None else with_compiled_layers(module, backend)
        self._compiled_from, self._graphed_to = compiled, graphed
        self._runs: dict[torch.Size, Callable[[torch.Tensor], torch.Tensor]] = {}

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the rows of a batch. Each shape is prepared once, when it first comes."""
        run = self._runs.get(batch.shape)
        if run is None:
            run = self._runs[batch.shape] = self._prepared(batch)
        return run(batch)

    def forget(self) -> None:
        """Let go of what was prepared, and its memory."""
        self._runs.clear()

    def _prepared(self, batch: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        if self._compiled is not None and len(batch) >= self._compiled_from:
            try:
                self._compiled(batch)
                return self._compiled
            except Exception as error:  # compilers fail in as many types as they have parts
                _log_unless_memory("torch cannot compile the network", error)
                self._compiled = None
        elif batch.device.type == "cuda" and len(batch) <= self._graphed_to:
            try:
                return Graphed(self._plain, batch)
            except Exception as error:  # of a driver, of what cannot be captured
                _log_unless_memory("no CUDA graph can be made of the network", error)
                self._graphed_to = 0
        return self._plain


def _log_unless_memory(what: str, error: Exception) -> None:
    """Log the reason. Raises OutOfMemoryError if that is it, for as it is the network needs no less."""
    reason = getattr(error, "inner_exception", error)  # what torch wraps into an error of its own
    if isinstance(reason, torch.OutOfMemoryError):
        raise reason
    log.warning("%s; it runs slower as it is: %s", what, first_line(reason))


def with_compiled_layers(module: nn.Module, backend: str | Callable[..., Any]) -> nn.Module:
    """Return a network with the same weights whose lists of layers are compiled at their first call.

    The layers of a transformer are one code: 27 of them take as long to compile as one.
    """
    options: dict[str, Any] = {"dynamic": False, "backend": backend, **APART}
    compiled = torch.compile(_run, **options)
    module = sharing_weights(module)
    for layers in [each for each in module.modules() if isinstance(each, nn.ModuleList)]:
        for place, layer in enumerate(layers):
            layers[place] = _Layer(layer, compiled)
    return module


def _run(layer: nn.Module, *args: Any, **options: Any) -> Any:
    return layer(*args, **options)


class _Layer(nn.Module):
    def __init__(self, layer: nn.Module, run: Callable[..., Any]) -> None:
        super().__init__()
        self.layer = layer
        self._run = run

    def forward(self, *args: Any, **options: Any) -> Any:
        return self._run(self.layer, *args, **options)


class Graphed:
    """A network that a GPU runs for batches of one shape without being told kernel by kernel."""

    def __init__(self, module: nn.Module, batch: torch.Tensor) -> None:
        """Raises RuntimeError, among others, if the network cannot be captured."""
        self._batch = batch.clone()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            expected = module(self._batch)  # libraries set themselves up at a first call, outside of a graph
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        # What other threads do on the GPU meanwhile is none of the graph's.
        # Without a stream it takes one that is made once for the process, of whichever GPU was current then.
        with torch.cuda.graph(self._graph, stream=aside, capture_error_mode="thread_local"):
            self._rows = module(self._batch)
        self._rows.zero_()  # or those of the capture would do for what is not replayed
        if F.cosine_similarity(self(batch).float(), expected.float()).min() < SAME:
            raise RuntimeError("replayed, it gives other rows")

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        self._batch.copy_(batch)
        self._graph.replay()
        return self._rows
