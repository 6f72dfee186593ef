"""How fast search is, against what memory gives and against FAISS: `python -m benchmarks.search`.

    exact       every row: against reading them once; many queries at once; memory
    int8        a first stage in 8 bits: against reading the float16 rows once
    ivf         an approximate index: against exact search
    hnsw        the same on fewer rows: against FAISS HNSW, speed at the same recall and memory
    filters     filters that keep 50 %, 5 % and 0.1 %
    start       the first hit of a new process; new rows until they are found
    rows        latency over the number of rows
    gpu         exact search and CAGRA on a GPU, where there is one

One million embeddings of 1152 numbers, generated in clusters; queries are held out. Each line names the bound
that it must keep. The gallery is made once in --folder, which takes some minutes.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.figures import Figure, report, require_all
from benchmarks.index_files import generated
from benchmarks.processes import run
from benchmarks.search_galleries import DIM, DRAWN, first_rows, queries, search_gallery
from benchmarks.search_gpu import figures as gpu_figures
from benchmarks.search_plot import draw
from benchmarks.search_start import Given
from benchmarks.timing import Pair, once, paired, seconds
from medsiglip_search.gallery import Gallery
from medsiglip_search.index import open_index, tuning
from medsiglip_search.index.exact import ExactIndex
from medsiglip_search.index.faiss import Int8Stage, IvfStage
from medsiglip_search.index.rows import Rows
from medsiglip_search.index.staged import StagedIndex
from medsiglip_search.search import Searcher

WAYS = "benchmarks.search_ways"
# As the commands set it (see `cli.main`).
OURS = {"OMP_WAIT_POLICY": "passive"}
LIBRARIES = ("torch", "faiss-gpu", "pylance", "numpy")
K, BATCH, HELD_OUT = 10, 64, 200
RECALL = 0.95
SHARES = (0.5, 0.05, 0.001)
ADDED_ROWS = 10_000
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Task:
    """What is measured: the gallery and its rows, and held-out queries, (HELD_OUT, DIM) each."""

    folder: Path
    gallery: Gallery
    rows: Rows
    images: np.ndarray
    texts: np.ndarray
    peer_rows: int

    @property
    def fp16_bytes(self) -> int:
        return self.rows.base.nbytes

    def read(self) -> torch.Tensor:
        """Read the stored rows once, on all cores."""
        return torch.from_numpy(self.rows.base).view(torch.int64).sum()

    def open(self, kind: Any) -> StagedIndex:
        index = open_index(self.gallery, kind, RECALL, "cpu", lambda: queries(HELD_OUT + 64)[1][HELD_OUT:])
        assert isinstance(index, StagedIndex)
        return index


def exact(task: Task) -> Iterator[Figure]:
    """Measure exact search: of one query, of many, and what it keeps in memory."""
    index = ExactIndex(task.rows, CPU)
    one, many = task.images[:1], task.images[:BATCH]
    pair = paired(partial(index.search, one, K), task.read)
    yield Figure("reading the float16 rows once", pair.second_s * 1e3, "ms")
    yield Figure("exact, one query", pair.first_s * 1e3, "ms")
    yield Figure("exact, one query, over reading once", pair.ratio, "", below=1.15)
    batch = paired(partial(index.search, many, K), partial(index.search, one, K), 5)
    yield Figure(f"exact, {BATCH} queries together", batch.first_s * 1e3, "ms")
    yield Figure(f"queries a second, {BATCH} together over one by one", BATCH / batch.ratio, "", at_least=6)
    taken, _ = run([WAYS, "memory", str(task.gallery.path), "exact"], OURS)
    yield Figure("exact, memory over the float16 rows", taken["bytes"] / task.fp16_bytes, "", below=1.2)
    yield from _deviation(task, index)
    yield from _peer(task, pair)


def _deviation(task: Task, index: ExactIndex) -> Iterator[Figure]:
    """Compare with float32 arithmetic: scores, and which rows are found."""
    asked = np.concatenate([task.images[:32], task.texts[:32]])
    scores, image_ids = index.search(asked, K)
    places = np.searchsorted(task.rows.image_ids, image_ids)
    truth, near = _float32(task, asked)
    yield Figure("largest difference to float32 scores", float(np.abs(scores - truth).max()), "", below=1e-3)
    wrong = ~np.isin(places, near) & (scores < truth[:, -1:] - 1e-3)
    yield Figure("rows found that float32 has not, ties of 0.001 aside", float(wrong.sum()), "", below=0)


def _float32(task: Task, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and places of the K best rows, all compared in float32."""
    found = [
        (torch.from_numpy(asked) @ torch.from_numpy(block.astype(np.float32)).T)
        for block in np.array_split(task.rows.base, max(1, len(task.rows.base) // 20_000))
    ]
    top = torch.cat(found, dim=1).topk(K, dim=1)
    return top.values.numpy(), top.indices.numpy()


def _peer(task: Task, ours: Pair) -> Iterator[Figure]:
    """Measure FAISS on the same float16 rows."""
    import faiss

    codes = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    for block in np.array_split(task.rows.base, max(1, len(task.rows.base) // 20_000)):
        codes.add(block.astype(np.float32))
    single = seconds(lambda: codes.search(task.images[:1], K), 3)
    yield Figure("FAISS float16 codes, one query, over ours", single / ours.first_s, "")
    batch = seconds(lambda: codes.search(task.images[:BATCH], K), 2)
    index = ExactIndex(task.rows, CPU)
    own = seconds(lambda: index.search(task.images[:BATCH], K), 2)
    yield Figure(f"FAISS float16 codes, {BATCH} queries, over ours", batch / own, "")


def int8(task: Task) -> Iterator[Figure]:
    """Measure the first stage in 8 bits."""
    index = task.open("int8")
    pair = paired(partial(index.search, task.images[:1], K), task.read, 11)
    yield Figure("int8 and exact re-ranking, one query", pair.first_s * 1e3, "ms")
    yield Figure("int8, one query, over reading the float16 rows once", pair.ratio, "", below=0.65)
    yield from _recalls(task, index, "int8", 0.999)


def ivf(task: Task) -> Iterator[Figure]:
    """Measure the approximate index against exact search."""
    index, everything = task.open("ivf"), ExactIndex(task.rows, CPU)
    note = json.loads((task.gallery.path / "index" / "ivf.json").read_text())
    yield Figure("ivf, building", note["build_seconds"], "s", details=note["measured"])
    yield Figure(
        "ivf, bytes a row beside the stored embeddings", index.stage.size_bytes / len(task.rows.base), "B"
    )
    yield from _recalls(task, index, "ivf", RECALL)
    few = task.images[:20]
    single = paired(partial(_one_by_one, everything, few[:3]), partial(_one_by_one, index, few), 5)
    yield Figure("ivf, one query", single.second_s / len(few) * 1e3, "ms")
    yield Figure("queries a second, ivf over exact, one by one", single.ratio * len(few) / 3, "", at_least=20)
    batch = paired(
        partial(everything.search, task.images[:BATCH], K), partial(index.search, task.images[:BATCH], K), 5
    )
    yield Figure(f"queries a second, ivf over exact, {BATCH} together", batch.ratio, "", at_least=20)


def hnsw(task: Task) -> Iterator[Figure]:
    """Measure the approximate index against FAISS HNSW, on rows so few that HNSW is built in minutes."""
    rows = first_rows(task.rows, task.peer_rows)
    everything = ExactIndex(rows, CPU)
    truth = everything.nearest(task.images, K, None)[1]
    np.savez(task.folder / "task.npz", queries=task.images, truth=truth)
    build_s, stage = once(lambda: IvfStage.build(rows.base))
    settings = tuning.measure(stage, everything, tuning.Held.of(rows, None))
    stage.saved()[1](task.folder / "ivf.faiss")
    setting = json.dumps(tuning.cheapest(settings, RECALL).as_dict())
    (task.folder / "setting.json").write_text(setting)
    common = [str(task.gallery.path), str(task.peer_rows), str(task.folder / "task.npz")]
    ours, _ = run([WAYS, "ivf", *common, str(task.folder)], OURS)
    peer, _ = run([WAYS, "hnsw", *common], OURS)
    mine = ours["found"][0]
    name = f"{task.peer_rows} rows"
    theirs = next((one for one in peer["found"] if one["recall"] >= RECALL), peer["found"][-1])
    details = {"ivf": ours["found"], "hnsw": peer["found"], "settings": [one.as_dict() for one in settings]}
    yield Figure(f"{name}: FAISS HNSW, recall", theirs["recall"], "", details=details)
    yield Figure(f"{name}: ivf, recall", mine["recall"], "", at_least=RECALL)
    for kind, words in (("single_qps", "one by one"), ("batch_qps", "together")):
        yield Figure(f"{name}: FAISS HNSW, {words}", theirs[kind], "queries/s")
        yield Figure(f"{name}: ivf over HNSW, {words}", mine[kind] / theirs[kind], "", at_least=0.9)
    yield Figure(f"{name}: ivf over HNSW, size", ours["bytes"] / peer["bytes"], "", below=0.25)
    grown = ours["private"] / peer["private"]
    yield Figure(f"{name}: ivf over HNSW, memory of its own", grown, "", below=0.25)
    # Pages of the file of embeddings, which the system takes back when it needs them.
    grown = ours["resident"] / peer["resident"]
    yield Figure(f"{name}: ivf over HNSW, pages of the mapped file included", grown, "")
    yield Figure(f"{name}: ivf over HNSW, time to build", build_s / peer["build_s"], "")


def filters(task: Task) -> Iterator[Figure]:
    """Measure filters of exact and of approximate search, each new to the index."""
    everything, approximate = ExactIndex(task.rows, CPU), task.open("ivf")
    asked = task.images[:1]
    for share in SHARES:
        select_s, allowed = once(partial(task.gallery.select, f"{DRAWN} < {share}"))
        kept = f"filter that keeps {100 * share:g} %"
        yield Figure(f"{kept}: selecting its {len(allowed)} rows", select_s * 1e3, "ms")
        pair = paired(
            lambda allowed=allowed: everything.search(asked, K, allowed.copy()),
            partial(everything.search, asked, K),
        )
        yield Figure(f"{kept}: exact over unfiltered", pair.ratio, "", below=1.3)
        wrong = _wrong(task, everything, allowed)
        yield Figure(f"{kept}: exact, queries whose ids are not NumPy's", float(wrong), "", below=0)
        for name, batch in (("images", task.images), ("texts", task.texts)):
            found = approximate.search(batch, K, allowed)[1]
            recall = _recall(found, everything.search(batch, K, allowed)[1])
            yield Figure(f"{kept}: ivf, recall of {name}", recall, "", at_least=RECALL)
        query_s = seconds(partial(_one_by_one, approximate, task.images[:20], allowed), 3) / 20
        yield Figure(f"{kept}: ivf, one query", query_s * 1e3, "ms")


def _wrong(task: Task, index: ExactIndex, allowed: np.ndarray) -> int:
    """Return for how many queries the ids are not those that NumPy has, comparing all rows in float64."""
    asked = task.images[:8]
    found = index.search(asked, K, allowed)[1]
    places = np.flatnonzero(np.isin(task.rows.image_ids, allowed))
    scores = np.concatenate(
        [
            task.rows.base[block].astype(np.float64) @ asked.T.astype(np.float64)
            for block in np.array_split(places, max(1, len(places) // 20_000))
        ]
    ).astype(np.float32)
    ids = task.rows.image_ids[places]
    expected = [ids[np.lexsort((ids, -scores[:, query]))[:K]] for query in range(len(asked))]
    return int((found != np.stack(expected)).any(axis=1).sum())


def start(task: Task) -> Iterator[Figure]:
    """Measure a new process until its first hit, and new rows until they are found."""
    path = str(task.gallery.path)
    np.save(task.folder / "query.npy", task.texts[0])
    command = ["benchmarks.search_start", path, str(task.folder / "query.npy")]
    first_s = seconds(partial(run, command, OURS), 5)
    yield Figure("start to first hit, libraries included", first_s, "s", below=5)
    searcher = Searcher.open(path, Given(task.texts[0]))
    searcher.search(text="any")
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((ADDED_ROWS, DIM), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    instances = [replace(one, archive="added") for one in islice(generated(), ADDED_ROWS)]
    with task.gallery.writer() as writer:
        ids = writer.commit(instances, [b""] * ADDED_ROWS, rows, ())
    try:

        def refreshed() -> int:
            newer = searcher.refreshed()
            newer.search(text="any")
            return int(newer.index.search(rows[:1], 1)[1][0, 0])

        took, found = once(refreshed)
        assert found == ids[0]
        yield Figure(f"{ADDED_ROWS} new rows, refreshed and searched", took, "s", below=3)
        opened = once(lambda: Searcher.open(path, Given(task.texts[0])).index.search(rows[-1:], 1)[1][0, 0])
        assert opened[1] == ids[-1]
        yield Figure(f"{ADDED_ROWS} new rows, opened anew and searched", opened[0], "s", below=5)
    finally:
        with task.gallery.writer() as writer:
            writer.delete("archive = 'added'")


def rows(task: Task) -> Iterator[Figure]:
    """Measure the latency of one query over the number of rows."""
    counts = [count for count in (10_000, 30_000, 100_000, 300_000) if count < len(task.rows.base)]
    for count in [*counts, len(task.rows.base)]:
        part = first_rows(task.rows, count)
        everything = ExactIndex(part, CPU)
        indexes: dict[str, Any] = {"exact": everything}
        if count == len(task.rows.base):
            indexes |= {kind: task.open(kind) for kind in ("int8", "ivf")}
        elif count > 16_384:
            for stage in (Int8Stage.build(part.base), IvfStage.build(part.base)):
                settings = tuning.measure(stage, everything, tuning.Held.of(part, None))
                indexes[stage.kind] = StagedIndex(part, stage, tuning.cheapest(settings, RECALL), everything)
        for kind, index in indexes.items():
            took = seconds(partial(_one_by_one, index, task.images[:10]), 5) / 10
            yield Figure(
                f"{count} rows: {kind}, one query", took * 1e3, "ms", details={"rows": count, "kind": kind}
            )


def gpu(task: Task) -> Iterator[Figure]:
    """Measure exact search on a GPU, with ten times the rows, and CAGRA where FAISS has it."""
    if not torch.cuda.is_available():
        print("gpu: not measured, for this machine has none")
        return
    yield from gpu_figures(torch.device("cuda"))


def _one_by_one(index: Any, asked: np.ndarray, allowed: np.ndarray | None = None) -> None:
    for query in asked:
        index.search(query[None], K, allowed)


def _recalls(task: Task, index: StagedIndex, name: str, at_least: float) -> Iterator[Figure]:
    for what, batch in (("images", task.images), ("texts", task.texts)):
        truth = ExactIndex(task.rows, CPU).search(batch, K)[1]
        found = np.concatenate([index.search(query[None], K)[1] for query in batch])
        yield Figure(f"{name}, recall of {what}", _recall(found, truth), "", at_least=at_least)


def _recall(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)]))


SECTIONS: dict[str, Callable[[Task], Iterator[Figure]]] = {
    "exact": exact,
    "int8": int8,
    "ivf": ivf,
    "hnsw": hnsw,
    "filters": filters,
    "start": start,
    "rows": rows,
    "gpu": gpu,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="exact, int8, ...; all by default")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer-rows", type=int, default=300_000, help="of the comparison with HNSW")
    parser.add_argument("--folder", type=Path, help="where the gallery is made, or lies from the last time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw latency and recall")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no section {sorted(unknown)[0]}; there are {', '.join(SECTIONS)}")
    with tempfile.TemporaryDirectory() as scratch:
        gallery = search_gallery((options.folder or Path(scratch)) / f"rows-{options.rows}", options.rows)
        images, texts = queries(HELD_OUT)
        task = Task(Path(scratch), gallery, Rows.open(gallery), images, texts, options.peer_rows)
        sections = (SECTIONS[name](task) for name in options.sections or SECTIONS)
        figures = report(sections, LIBRARIES, options.json)
    if options.plot:
        draw(figures, options.plot)
    require_all(figures)


if __name__ == "__main__":
    main()
