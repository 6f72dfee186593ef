"""From files to a gallery: what embedding leaves to be waited for, and the memory that a run takes."""

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.encode_inputs import Task, entries
from benchmarks.figures import Figure
from benchmarks.processes import run
from benchmarks.timing import once
from indexer.pipeline import Progress, index_archives
from medsiglip_search.encoders.siglip import SiglipEncoder
from medsiglip_search.gallery import Gallery
from medsiglip_search.records import GalleryMeta
from medsiglip_search.terminal import note

OVER_EMBEDDING = {"cuda": 0.9}
"""What indexing must keep at least of the rate of embedding alone. A processor decodes beside it."""

MOST_OF_ITS_OWN_GB = {"bf16": 4.0}


def files(task: Task) -> Iterator[Figure]:
    """Measure indexing JPEG files beside embedding the same pictures, fitted already, in turn."""
    note("indexing")
    encoder = task.load("auto")
    archive = task.few if task.is_slow else task.archive
    count = len(entries(archive))
    encoder.embed_images(task.pictures)  # warm, and measured where that is done once
    embedding, indexing = [], []
    for number in range(task.rounds):
        taken, _ = once(partial(encoder.embed_images, task.pictures))
        embedding.append(len(task.pictures) / taken)
        indexing.append(_rate(task.scratch / f"gallery {number}", archive, encoder, count))
    yield Figure("embedding fitted pictures alone", median(embedding), "images/s")
    name = f"indexing {count} JPEG files"
    details = {"way": name, "seconds": [1 / rate for rate in indexing]}
    yield Figure(name, median(indexing), "images/s", details=details)
    ratio = median(a / b for a, b in zip(indexing, embedding, strict=True))
    at_least = task.bound(OVER_EMBEDDING.get(task.device.type))
    yield Figure("indexing over embedding alone", ratio, "", at_least)


def _rate(path: Path, archive: Path, encoder: SiglipEncoder, count: int) -> float:
    """Return pictures a second from when the first file is there, its workers started, to the last commit."""
    began: list[float] = []

    def tell(progress: Progress) -> None:
        if progress.files and not began:
            began.append(time.perf_counter())

    meta = GalleryMeta(encoder.name, encoder.revision, encoder.weights_digest, encoder.dim, encoder.spec)
    report = index_archives(Gallery.create(path, meta), [str(archive)], encoder, progress=tell)
    taken = time.perf_counter() - began[0]
    shutil.rmtree(path)
    if report.embedded != count:
        raise SystemExit(f"{report.embedded} of {count} files were embedded")
    return count / taken


def memory(task: Task) -> Iterator[Figure]:
    """Measure the peaks of indexing a few pictures by the command, which loads the model and stores them.

    Where OpenVINO's files of the checkpoint are not there yet, making them is a part of it.
    """
    for precision in ("auto", "bf16"):
        note(f"memory, --precision {precision}")
        gallery = task.scratch / f"gallery in {precision}"
        arguments = ["index", str(gallery), str(task.few), "--encoder", str(task.checkpoint.folder)]
        options = ["--device", str(task.device), "--precision", precision, "--json"]
        _, samples = run(["benchmarks.command", *arguments, *options])
        own = max(sample.parent_bytes for sample in samples) / 1e9
        tree = max(sample.tree_bytes for sample in samples) / 1e9
        name = f"memory of index --precision {precision}"
        yield Figure(f"{name}: its own process", own, "GB", below=MOST_OF_ITS_OWN_GB.get(precision))
        yield Figure(f"{name}: with those that it starts", tree, "GB")
