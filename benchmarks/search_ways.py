"""Programs that `benchmarks.search` runs as processes: `python -m benchmarks.search_ways WAY ...`.

    memory GALLERY KIND               what an index takes, beside the libraries
    hnsw GALLERY ROWS QUERIES         FAISS HNSW over float32 rows, the peer
    ivf GALLERY ROWS QUERIES STAGE    ours on the same rows; STAGE: the folder of its files

Each prints JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from benchmarks.search_galleries import DIM, first_rows, queries
from benchmarks.timing import seconds
from medsiglip_search.gallery import Gallery
from medsiglip_search.index import open_index
from medsiglip_search.index.exact import ExactIndex
from medsiglip_search.index.faiss import IvfStage
from medsiglip_search.index.rows import Rows
from medsiglip_search.index.staged import StagedIndex
from medsiglip_search.index.tuning import Setting

K = 10
LINKS, BREADTHS = 32, (16, 32, 64, 128, 256, 512)


def memory(path: str, kind: str) -> dict[str, Any]:
    """Measure what opening and searching adds to a process that has all libraries loaded."""
    asked = queries(64)[0]
    torch.mv(torch.ones((4, 4), dtype=torch.half), torch.ones(4, dtype=torch.half))
    gallery = Gallery.open(path)
    gallery.select(None)
    before = resident()
    index = open_index(gallery, kind)  # type: ignore[arg-type]
    index.search(asked[:1], K)
    index.search(asked, K)
    return {"bytes": resident("VmHWM") - before, "mapped": resident("RssFile")}


def hnsw(path: str, count: str, file: str) -> dict[str, Any]:
    """Measure the peer at each breadth of search."""
    rows, asked, truth = _task(path, count, file)
    faiss.omp_set_num_threads(torch.get_num_threads())
    before, private = resident(), resident("RssAnon")
    started = time.perf_counter()
    index = faiss.IndexHNSWFlat(DIM, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 80
    for begin in range(0, len(rows.base), 1 << 14):
        index.add(rows.base[begin : begin + (1 << 14)].astype(np.float32))
    build_s = time.perf_counter() - started
    taken = int(index.ntotal * DIM * 4 + index.hnsw.neighbors.size() * 4 + index.hnsw.offsets.size() * 8)
    found = []
    for breadth in BREADTHS:
        index.hnsw.efSearch = breadth
        found.append(_measured(lambda batch: index.search(batch, K)[1], asked, truth, breadth))
    grown = {"resident": resident() - before, "private": resident("RssAnon") - private}
    return {"build_s": build_s, "bytes": taken, "found": found, **grown}


def ivf(path: str, count: str, file: str, stage: str) -> dict[str, Any]:
    """Measure ours in the setting that was chosen when it was built."""
    rows, asked, truth = _task(path, count, file)
    before, private = resident(), resident("RssAnon")
    with (Path(stage) / "ivf.faiss").open("rb") as codes:
        loaded = IvfStage.load({}, codes)
    setting = Setting(**json.loads((Path(stage) / "setting.json").read_text()))
    index = StagedIndex(rows, loaded, setting, ExactIndex(rows, torch.device("cpu")))
    found = _measured(lambda batch: index.search(batch, K)[1] - 1, asked, truth, setting.effort)
    grown = {"resident": resident() - before, "private": resident("RssAnon") - private}
    return {"bytes": loaded.size_bytes, "found": [found], **grown}


def _task(path: str, count: str, file: str) -> tuple[Rows, np.ndarray, np.ndarray]:
    rows = first_rows(Rows.open(Gallery.open(path)), int(count))
    with np.load(file) as task:
        return rows, task["queries"], task["truth"]


def _measured(search: Any, asked: np.ndarray, truth: np.ndarray, effort: int) -> dict[str, float]:
    """Return recall and queries a second, asked one by one and together. search: places of a batch."""

    def one_by_one() -> np.ndarray:
        return np.concatenate([search(query[None]) for query in asked])

    found = one_by_one()
    return {
        "effort": effort,
        "recall": float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)])),
        "single_qps": len(asked) / seconds(one_by_one, 3),
        "batch_qps": len(asked) / seconds(lambda: search(asked), 3),
    }


def resident(field: str = "VmRSS") -> int:
    """Return what the system says of this process's memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:"))


WAYS = {"memory": memory, "hnsw": hnsw, "ivf": ivf}

if __name__ == "__main__":
    way, *arguments = sys.argv[1:]
    print(json.dumps(WAYS[way](*arguments)))
