"""Pictures to embeddings: ours in every precision, and peers, each in turn with AutoModel in float32."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import torch

from benchmarks.encode_bound import Products, bounding, products
from benchmarks.encode_inputs import Task, flops
from benchmarks.encode_peers import AutoModelLoop, CompiledTimm, Peer
from benchmarks.figures import Figure
from benchmarks.timing import once
from medsiglip_search.devices import multiplies_bf16
from medsiglip_search.encoders.calibration import least_cosine
from medsiglip_search.encoders.image_towers import openvino
from medsiglip_search.encoders.image_towers.eager import TorchTower
from medsiglip_search.encoders.precision import DTYPES
from medsiglip_search.encoders.siglip.vision import VisionTower
from medsiglip_search.encoders.torch_calls import unit
from medsiglip_search.errors import EncoderUnavailable
from medsiglip_search.terminal import note

LEAST_COSINE = {"fp32": 0.9999, "bf16": 0.999, "int8": 0.998, "fp8": 0.998}

FP32_LOOP, BF16_LOOP = "AutoModel fp32", "AutoModel bf16"

SPEEDS: Mapping[str, Mapping[tuple[str, str], float]] = {
    "cpu": {("bf16", FP32_LOOP): 4.0, ("int8", FP32_LOOP): 7.0},
    "cuda": {
        ("bf16", FP32_LOOP): 8.0,
        ("bf16", BF16_LOOP): 1.25,
        ("bf16", "products"): 0.7,
        ("fp8", "ours, bf16"): 1.25,
    },
}
"""What ours must keep at least, by device, our precision and what it is divided by.

On processors only where they multiply bfloat16: without, float32 is all that there is to be fast in.
"""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to embed pictures.

    embed: returns (count, D) float32 embeddings of the first `count` pictures, each row of L2 norm 1.
    count: pictures of a round. of_ours: the precision, if it is the program's own choice for that.
    has_weights: whether its embeddings can be compared. is_peer: whether it is somebody else's.
    """

    name: str
    precision: str
    embed: Callable[[int], np.ndarray]
    count: int
    of_ours: str | None = None
    has_weights: bool = True
    is_peer: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of the rounds of one way.

    over_loop: its rate over that of AutoModel in float32, which took `loop_s` for a picture; the median.
    """

    name: str
    of_ours: str | None
    over_loop: float
    loop_s: Sequence[float]


def images(task: Task) -> Iterator[Figure]:
    """Measure ours and the peers; two models at most are in memory, but while int8 proves itself."""
    note(f"{FP32_LOOP}: the embeddings that all are compared with")
    loop = AutoModelLoop(task, "fp32")
    expected = loop.embed(len(task.pictures))
    multiplied = products(task)
    for one in multiplied.values():
        one.rate()
    measured, loops = [], []
    for name, make in _makers(task, loop):
        note(name)
        try:
            way = make()
        except EncoderUnavailable as error:
            note(str(error))
            yield Figure(f"{name}: is to be had", 0, "", task.bound(1))
            _free()
            continue
        one, figures = _measure(task, way, loop, expected, multiplied)
        measured.append(one)
        loops += one.loop_s
        yield from figures
        del way
        _free()
    if loops:
        yield Figure(f"{FP32_LOOP}: an image", median(loops), "s")
    yield from _over_each_other(task, measured)


def _makers(task: Task, loop: AutoModelLoop) -> Iterator[tuple[str, Callable[[], Way]]]:
    """Yield each way's name and what loads it."""
    count = len(task.pictures)
    for precision in task.precisions:
        yield f"ours, {precision}", partial(_ours, task, precision)
        if task.device.type == "cpu" and precision in DTYPES and openvino.is_for(precision):
            yield f"torch alone, {precision}", partial(_torch_alone, task, precision)
    if task.device.type == "cpu":
        name = f"{FP32_LOOP}, batches of {count}"
        yield name, lambda: _peer(name, "fp32", AutoModelLoop(task, "fp32", count, loop.model), count)
    if "bf16" in task.precisions:
        yield BF16_LOOP, lambda: _peer(BF16_LOOP, "bf16", AutoModelLoop(task, "bf16"), _few(task))
    if task.timm:
        precision = "bf16" if multiplies_bf16(task.device) else "fp32"
        compiled = f"timm compiled, {precision}"
        yield compiled, lambda: _peer(compiled, precision, CompiledTimm(task, precision), _few(task))


def _ours(task: Task, precision: str) -> Way:
    encoder = task.load(precision)
    pictures = task.pictures
    return Way(
        f"ours, {precision}",
        precision,
        lambda count: encoder.embed_images(pictures[:count]),
        len(pictures),
        of_ours=precision,
    )


def _torch_alone(task: Task, precision: str) -> Way:
    """Return ours as it runs where OpenVINO is not installed."""
    checkpoint = task.checkpoint
    network = VisionTower(checkpoint.load_vision(DTYPES[precision], task.device), checkpoint.spec)
    tower = TorchTower(network, 1 if task.is_slow else 32)

    def embed(count: int) -> np.ndarray:
        return unit(torch.from_numpy(tower.pooled(task.pictures[:count], checkpoint.spec)))

    return Way(f"torch alone, {precision}", precision, embed, _few(task))


def _peer(name: str, precision: str, peer: Peer, count: int) -> Way:
    has_weights = not isinstance(peer, CompiledTimm)
    return Way(name, precision, peer.embed, count, has_weights=has_weights, is_peer=True)


def _few(task: Task) -> int:
    """Return how many pictures are enough for a round of what takes them one by one."""
    count = len(task.pictures)
    return max(1, count // 4) if task.is_slow else count


def _measure(
    task: Task,
    way: Way,
    loop: AutoModelLoop,
    expected: np.ndarray,
    multiplied: Mapping[str, Products],
) -> tuple[Measured, list[Figure]]:
    """Do it and AutoModel's loop in turn, and between them the products that bound it."""
    embedded = way.embed(way.count if way.is_peer else len(task.pictures))
    way.embed(way.count)  # warm, and compiled for so many
    bound, operations, few = bounding(multiplied, way.precision), flops(task.checkpoint.vision), _few(task)
    loops, rates, own = [], [], []
    for _ in range(task.rounds):
        loops.append(once(partial(loop.embed, few))[0] / few)
        rates.append(bound.rate())
        own.append(once(partial(way.embed, way.count))[0] / way.count)
    over_loop = median(theirs / ours for theirs, ours in zip(loops, own, strict=True))
    over_bound = median(operations / rate / ours for rate, ours in zip(rates, own, strict=True))
    seconds = median(own)
    details = {"way": way.name, "seconds": own, "loop": loops, "bound_s": [operations / r for r in rates]}
    figures = [
        Figure(f"{way.name}: an image", seconds, "s", details=details),
        Figure(f"{way.name}: images a second", 1 / seconds, "images/s"),
        Figure(f"{way.name}: over {FP32_LOOP}", over_loop, "", _goal(task, way.of_ours, FP32_LOOP)),
        Figure(
            f"{way.name}: over products in {bound.precision}",
            over_bound,
            "",
            _goal(task, way.of_ours, "products"),
        ),
    ]
    if way.has_weights:
        cosine = least_cosine(embedded, expected[: len(embedded)])
        at_least = None if way.is_peer else LEAST_COSINE[way.precision]
        details = {"way": way.name, "cosine": cosine, "at_least": at_least}
        figures.append(Figure(f"{way.name}: least cosine", cosine, "", at_least, None, details, 6))
    return Measured(way.name, way.of_ours, over_loop, loops), figures


def _over_each_other(task: Task, measured: list[Measured]) -> Iterator[Figure]:
    """Divide ours by each peer, both as multiples of AutoModel's loop in the same rounds."""
    for one in measured:
        if one.of_ours is None:
            continue
        for other in measured:
            if other is not one and (other.of_ours is None or one.of_ours == "fp8"):
                goal = _goal(task, one.of_ours, other.name)
                yield Figure(f"{one.name}: over {other.name}", one.over_loop / other.over_loop, "", goal)


def _goal(task: Task, of_ours: str | None, over: str) -> float | None:
    if of_ours is None or (task.device.type == "cpu" and not multiplies_bf16(task.device)):
        return None
    return task.bound(SPEEDS[task.device.type].get((of_ours, over)))


def _free() -> None:
    """Give back what the last model took: at full size two fit into memory well, and four do not."""
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
