"""What bounds an encoder on this machine: products of the model's shapes, memory, and files to be decoded."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.encode_inputs import Task, entries, flops, read, tokens_of
from benchmarks.figures import Figure
from benchmarks.timing import once, seconds
from medsiglip_search.devices import multiplies_bf16
from medsiglip_search.encoders.precision import DTYPES
from medsiglip_search.images.guard import Guard, Limits

COPIED_BYTES = 1 << 28
ENOUGH_FLOP = {"cpu": 1e9, "cuda": 1e14}
"""Of a measurement: what is smaller is repeated. A processor must do at least a product of a large model."""

MOST_REPEATED = 1000
TOGETHER = {"cpu": 1, "cuda": 128}
"""Pictures whose rows are multiplied at once."""


class Products:
    """The six products of one layer, in one precision: the least that a picture takes, whoever computes."""

    def __init__(self, vision: Any, precision: str, device: torch.device) -> None:
        self.precision = precision
        self._device = device
        rows = TOGETHER[device.type] * tokens_of(vision)
        dim, inner = vision.hidden_size, vision.intermediate_size
        self._pairs = {
            (rows, d_in, d_out): tuple(
                torch.randn(shape, device=device).to(DTYPES[precision])
                for shape in ((rows, d_in), (d_out, d_in))
            )
            for d_in, d_out in ((dim, dim), (dim, inner), (inner, dim))
        }
        # Queries, keys, values and what joins the heads; then the two of the perceptron.
        self._layer = [(rows, dim, dim)] * 4 + [(rows, dim, inner), (rows, inner, dim)]

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        return list(self._pairs)

    def rate(self, *shapes: tuple[int, int, int]) -> float:
        """Return operations a second of these products one after the other, a whole layer by default."""
        wanted = shapes or tuple(self._layer)
        operations = sum(2 * a * b * c for a, b, c in wanted)
        repeats = min(MOST_REPEATED, max(1, round(ENOUGH_FLOP[self._device.type] / operations)))
        taken, _ = once(partial(self._multiply, wanted, repeats))
        return operations * repeats / taken

    @torch.inference_mode()
    def _multiply(self, shapes: tuple[tuple[int, int, int], ...], repeats: int) -> None:
        for _ in range(repeats):
            for shape in shapes:
                F.linear(*self._pairs[shape])
        finish(self._device)


def products(task: Task) -> Mapping[str, Products]:
    """Return the products in each precision that this machine multiplies in torch."""
    names = ["fp32", *(["bf16"] if multiplies_bf16(task.device) else [])]
    return {name: Products(task.checkpoint.vision, name, task.device) for name in names}


def bounding(products: Mapping[str, Products], precision: str) -> Products:
    """Return the products that bound a precision: in bf16 where there are such, but for fp32."""
    return products["fp32"] if precision == "fp32" or "bf16" not in products else products["bf16"]


def finish(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bound(task: Task) -> Iterator[Figure]:
    """Measure what no encoder of this shape can go beyond on this machine."""
    operations = flops(task.checkpoint.vision)
    device = torch.cuda.get_device_name(task.device) if task.device.type == "cuda" else "cpu"
    yield Figure("operations for one picture", operations / 1e9, "GFLOP", details={"device": device})
    for precision, one in products(task).items():
        for shape in one.shapes:
            fastest = _fastest(partial(one.rate, shape), task.rounds)
            name = f"product in {precision}, {' x '.join(map(str, shape))}"
            yield Figure(name, fastest / 1e12, "TFLOP/s")
        fastest = _fastest(one.rate, task.rounds)
        yield Figure(f"product in {precision}, a layer's six", fastest / 1e12, "TFLOP/s")
        details = {"bound": f"products in {precision}"}
        yield Figure(f"bound of products in {precision}", fastest / operations, "images/s", details=details)
    source = torch.ones(COPIED_BYTES, dtype=torch.uint8, device=task.device)
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        finish(task.device)

    copied = 2 * COPIED_BYTES / seconds(copy, task.rounds)
    yield Figure("copying memory, read and written", copied / 1e9, "GB/s")
    yield from _decoding(task)


def _fastest(rate: Callable[[], float], rounds: int) -> float:
    rate()
    return max(rate() for _ in range(rounds))


def _decoding(task: Task) -> Iterator[Figure]:
    """Measure decoding and fitting alone, as indexing does it, in warm workers."""
    files = entries(task.archive)
    with Guard(limits=Limits(timeout_s=60)) as guard:
        taken = seconds(partial(read, files, task.checkpoint.spec, guard), task.rounds)
    rate = len(files) / taken
    details = {"bound": "decoding and fitting"}
    yield Figure(f"decoding and fitting {len(files)} JPEG files", rate, "images/s", details=details)
