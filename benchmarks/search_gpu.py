"""What `benchmarks.search gpu` measures: search on a GPU, against what its memory and its cores give."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from benchmarks.figures import Figure
from benchmarks.search_galleries import DIM
from benchmarks.timing import paired, seconds
from benchmarks.vectors import Vectors
from medsiglip_search.errors import IndexUnavailable
from medsiglip_search.index import tuning
from medsiglip_search.index.exact import ExactIndex
from medsiglip_search.index.faiss import GraphStage
from medsiglip_search.index.rows import Base, Rows
from medsiglip_search.index.scan import CHUNK_ROWS
from medsiglip_search.index.staged import StagedIndex

ROWS, BATCH, K = 10_000_000, 1024, 10
_AT_ONCE = 100_000


def figures(device: torch.device, count: int = ROWS, batch: int = BATCH) -> Iterator[Figure]:
    """Measure exact search of `count` rows on a device, then CAGRA on a tenth of them."""
    rows = _rows(count)
    index = ExactIndex(rows, device)
    yield Figure("GPU: memory taken over the float16 rows", _taken(device) / rows.base.nbytes, "")
    asked = Vectors(DIM, draws=1).images(batch)
    blocks = [block for _, block in index._many._blocks]

    def read() -> None:
        for block in blocks:
            block.view(torch.int64).sum()
        _wait(device)

    one = paired(partial(index.search, asked[:1], K), read)
    yield Figure(f"GPU: reading {count} float16 rows once", one.second_s * 1e3, "ms")
    yield Figure("GPU: one query", one.first_s * 1e3, "ms")
    yield Figure("GPU: one query over reading once", one.ratio, "", below=1.5)
    on_device = torch.from_numpy(asked).to(device).half()

    def multiply() -> None:
        for block in blocks:
            on_device @ block.T
        _wait(device)

    many = paired(partial(index.search, asked, K), multiply, 5)
    yield Figure(f"GPU: {batch} queries", many.first_s * 1e3, "ms")
    yield Figure(f"GPU: {batch} queries, the bare product over ours", 1 / many.ratio, "", at_least=0.5)
    draw = np.random.default_rng(0).random(count)
    for share in (0.5, 0.05, 0.001):
        allowed = rows.image_ids[draw < share]
        filtered = paired(partial(index.search, asked[:1], K, allowed), partial(index.search, asked[:1], K))
        yield Figure(
            f"GPU: filter that keeps {100 * share:g} %, over unfiltered", filtered.ratio, "", below=1.2
        )
    yield from _graph(device, rows, asked)


def _graph(device: torch.device, rows: Rows, asked: np.ndarray) -> Iterator[Figure]:
    count = len(rows.base) // 10
    part = Rows(Base({}, rows.base[:count], rows.saved.known[:count]), rows.saved.known[:count], rows.tail)
    everything = ExactIndex(part, device)
    try:
        stage = GraphStage.build(part.base)
    except IndexUnavailable as error:
        print(f"graph: not measured: {error}")
        return
    settings = tuning.measure(stage, everything, tuning.Held.of(part, None))
    index = StagedIndex(part, stage, tuning.cheapest(settings, 0.95), everything)
    truth = everything.search(asked, K)[1]
    found = index.search(asked, K)[1]
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)])
    yield Figure(f"GPU: graph over {count} rows, recall", float(recall), "", at_least=0.95)
    yield Figure("GPU: graph, one query", seconds(partial(index.search, asked[:1], K)) * 1e3, "ms")


def _rows(count: int) -> Rows:
    embeddings = np.empty((count, DIM), np.float16)
    vectors = Vectors(DIM)
    some = vectors.images(min(count, CHUNK_ROWS)).astype(np.float16)
    # Drawing ten millions takes longer than all that is measured: the later ones are the first, disturbed.
    rng = np.random.default_rng(0)
    for start in range(0, count, _AT_ONCE):
        block = some[np.arange(start, min(start + _AT_ONCE, count)) % len(some)]
        embeddings[start : start + len(block)] = block + rng.standard_normal(DIM).astype(np.float16) / 512
    known = np.stack([np.arange(1, count + 1), np.zeros(count, np.int64)], axis=1)
    return Rows(Base({}, embeddings, known), known, np.empty((0, DIM), np.float16))


def _taken(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
