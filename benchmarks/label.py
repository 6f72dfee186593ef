"""How fast a gallery is labelled: `python -m benchmarks.label --folder FOLDER`.

One million embeddings of 1152 numbers against 100 labels: scores, probabilities and decisions, counted,
beside the bare product of the same rows with the same matrix, block by block, in the fastest of some ways.
The gallery is made in the folder once, and found again.
"""

import argparse
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.figures import Figure, report, require_all
from benchmarks.processes import resident
from benchmarks.search_galleries import DIM, search_gallery
from benchmarks.timing import once, paired, seconds
from medsiglip_search.gallery import Gallery
from medsiglip_search.labelling.output import write
from medsiglip_search.labelling.run import labelled_blocks
from medsiglip_search.labelling.storing import store_decisions
from medsiglip_search.labelling.summary import Summary
from medsiglip_search.labelling.task import Task
from medsiglip_search.labels.classifier import Classifier
from medsiglip_search.labels.labeller import Labeller

BLOCKS = (1024, 2048, 8192, 32_768)
SAMPLE_EVERY_S = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where the gallery is made, and found again")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        gallery = search_gallery(folder / f"rows-{options.rows}", options.rows)
        labeller = Labeller(_classifier(options.labels))
        sections = (
            _product(gallery, labeller),
            _files(gallery, labeller, Path(scratch)),
            _columns(gallery, labeller, Path(scratch)),
        )
        require_all(report(sections, ("torch", "pylance", "pyarrow", "scipy"), options.json))


def _classifier(labels: int) -> Classifier:
    """Return findings in directions of chance, whose probabilities are neither all 0 nor all 1."""
    weights = np.random.default_rng(0).standard_normal((labels, DIM), np.float32) / np.float32(DIM**0.5)
    names = tuple(f"label {number}" for number in range(labels))
    nothing, half = np.zeros(labels, np.float32), np.full(labels, 0.5)
    return Classifier("generated", "findings", "zero-shot", names, weights, nothing, 40.0, half, "generated")


def _label(gallery: Gallery, labeller: Labeller) -> Summary:
    """Label all images, and count what comes."""
    summary = Summary(labeller.classifier.labels)
    for block in labelled_blocks(gallery, labeller):
        summary.add(block.labelled)
    return summary


def _product(gallery: Gallery, labeller: Labeller) -> Iterator[Figure]:
    """Yield ours beside the bare product, and the memory that ours takes."""
    ours = partial(_label, gallery, labeller)
    # Before the rows are in memory for the product.
    yield Figure("memory that grows", _growth(ours) / 1e9, "GB", below=1.0)
    rows = gallery.embeddings()[1]
    weights = labeller.classifier.weights
    ways = {
        f"{name}, {size} rows": partial(way, rows, weights, size)
        for name, way in (("NumPy", _numpy_product), ("torch", _torch_product))
        for size in BLOCKS
    }
    best = min(ways, key=lambda name: seconds(ways[name], rounds=2))
    bare = ways[best]
    pair = paired(ours, bare, rounds=5)
    yield Figure(f"bare product of rows in memory ({best} at once)", pair.second_s, "s")
    yield Figure("labelling the gallery", pair.first_s, "s")
    yield Figure("labelling over the bare product", pair.ratio, "", below=2.0)
    stored = paired(ours, partial(_stored_product, gallery, weights), rounds=3)
    yield Figure("labelling over reading and the bare product", stored.ratio, "")


def _files(gallery: Gallery, labeller: Labeller, folder: Path) -> Iterator[Figure]:
    """Yield how long it takes to write all rows."""
    for suffix in (".parquet", ".csv"):
        path = folder / f"labels{suffix}"
        task = Task(gallery, labeller)
        taken, written = once(partial(write, task, path, Summary(task.labels)))
        name = f"with a file, {suffix[1:]}"
        yield Figure(f"{name}: all of it", taken, "s")
        yield Figure(f"{name}: millions of rows a second", written.rows / taken / 1e6, "")
        yield Figure(f"{name}: size", written.size_bytes / 1e9, "GB")
        path.unlink()


def _columns(gallery: Gallery, labeller: Labeller, folder: Path) -> Iterator[Figure]:
    """Yield how long it takes to store all decisions as columns, in a copy of the gallery."""
    shutil.copytree(gallery.path, folder / "copy")
    copy = Gallery.open(folder / "copy")
    before = copy.size_bytes()
    with copy.writer() as writer:
        growth: list[int] = []

        def store() -> None:
            growth.append(_growth(lambda: store_decisions(writer, labeller)))

        taken, _ = once(store)
    yield Figure("decisions as columns of the gallery: all of it", taken, "s")
    yield Figure("decisions as columns: memory that grows", growth[0] / 1e9, "GB")
    yield Figure("decisions as columns: size", (copy.size_bytes() - before) / 1e9, "GB")


def _numpy_product(rows: np.ndarray, weights: np.ndarray, size: int) -> None:
    for start in range(0, len(rows), size):
        rows[start : start + size].astype(np.float32) @ weights.T


def _torch_product(rows: np.ndarray, weights: np.ndarray, size: int) -> None:
    stored, matrix = torch.from_numpy(rows), torch.from_numpy(weights).T
    for start in range(0, len(rows), size):
        stored[start : start + size].float() @ matrix


def _stored_product(gallery: Gallery, weights: np.ndarray) -> None:
    matrix = torch.from_numpy(weights).T
    for batch in gallery.embedding_batches():
        torch.from_numpy(batch.copy()).float() @ matrix


def _growth(work: Callable[[], object]) -> int:
    """Return by how many bytes the resident memory of this process grew while it worked, at most."""
    before, most = resident(), 0
    done = threading.Event()

    def sample() -> None:
        nonlocal most
        while not done.wait(SAMPLE_EVERY_S):
            most = max(most, resident())

    sampler = threading.Thread(target=sample)
    sampler.start()
    work()
    done.set()
    sampler.join()
    return max(most, resident()) - before


if __name__ == "__main__":
    main()
