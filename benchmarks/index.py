"""How fast an archive becomes a gallery, and what that takes: `python -m benchmarks.index`.

    ratio       indexing beside the serial loop of a notebook, on the same files, round after round
    growth      rate and memory over a run: 20,000 files beside 1,000
    unchanged   a second run over 100,000 files that are as they were
    million     1,000,000 rows of 1152: size, opening, counting and filtering

Every run is a process of its own, with the demo encoder; what it takes to load that is not counted. All files
are generated (`--pictures` adds real ones to the ratio). Each line names the bound that it must keep.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import Figure, report, require_all
from benchmarks.index_files import (
    COMMIT_ROWS,
    demo_pictures,
    indexed_before,
    large_gallery,
    only_pictures,
    small_pictures,
)
from benchmarks.processes import Sample, run

WAYS = "benchmarks.index_ways"
# As the commands set it (see `cli.main`); the notebook's loop runs as torch comes.
OURS = {"OMP_WAIT_POLICY": "passive"}
LIBRARIES = ("torch", "transformers", "pylance", "pyarrow")
DIM = 1152


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int
    demo_images: int
    few: int
    many: int
    unchanged: int
    rows: int
    pictures: tuple[Path, ...]


def ratio(folder: Path, size: Size) -> Iterator[Figure]:
    """Measure indexing beside the serial loop, on each kind of picture."""
    archives = {"demo": demo_pictures(folder, size.demo_images)}
    for pictures in size.pictures:
        archives[pictures.name] = only_pictures(pictures, folder / pictures.name)
    for name, archive in archives.items():
        serial, ours, writing = [], [], []
        for number in range(size.rounds):
            result, _ = run([WAYS, "serial", str(archive)])
            serial.append(result["images"] / result["seconds"])
            result, _ = run([WAYS, "ours", str(folder / f"{name} gallery {number}"), str(archive)], OURS)
            ours.append(result["images"] / result["seconds"])
            writing.append(result["writing_s"] / result["seconds"])
        details = {"images": result["images"], "serial": serial, "ours": ours}
        yield Figure(f"{name}: serial loop, {result['images']} pictures", median(serial), "images/s")
        yield Figure(f"{name}: index", median(ours), "images/s")
        yield Figure(f"{name}: index over serial loop", median(ours) / median(serial), "", 3, details=details)
        yield Figure(f"{name}: writing, share of the wall time", 100 * max(writing), "%", below=5)


def growth(folder: Path, size: Size) -> Iterator[Figure]:
    """Measure memory and rate of a short and of a long run."""
    peaks = []
    for count in (size.few, size.many):
        archive = small_pictures(folder / f"{count} pictures", count)
        result, samples = run([WAYS, "ours", str(folder / f"{count} gallery"), str(archive)], OURS)
        begin, end = result["progress"][0][0], result["progress"][-1][0]
        during = [replace(one, seconds=one.seconds - begin) for one in samples if begin <= one.seconds <= end]
        progress = [(seconds - begin, files) for seconds, files in result["progress"]]
        details = {"progress": progress, "memory": [asdict(sample) for sample in during]}
        peaks.append(_peaks(during))
        rate = result["images"] / result["seconds"]
        yield Figure(f"{count} files: index", rate, "images/s", details=details)
        yield Figure(f"{count} files: memory of its own process", peaks[-1][0] / 1e6, "MB")
        yield Figure(f"{count} files: memory of all processes", peaks[-1][1] / 1e6, "MB")
        share = 100 * result["writing_s"] / result["seconds"]
        yield Figure(f"{count} files: writing, share of the wall time", share, "%", below=5)
    for place, who in enumerate(("its own process", "all processes")):
        growth = 100 * (peaks[1][place] / peaks[0][place] - 1)
        yield Figure(f"{size.many} files over {size.few}: memory of {who}, growth", growth, "%", below=10)


def _peaks(samples: list[Sample]) -> tuple[int, int]:
    return max(one.parent_bytes for one in samples), max(one.tree_bytes for one in samples)


def unchanged(folder: Path, size: Size) -> Iterator[Figure]:
    """Measure a run that finds every file as it was."""
    from medsiglip_search.encoders import load_encoder
    from medsiglip_search.records import GalleryMeta

    encoder = load_encoder("demo")
    archive = small_pictures(folder / "unchanged", size.unchanged, side=24)
    meta = GalleryMeta("demo", encoder.revision, encoder.weights_digest, encoder.dim, encoder.spec)
    indexed_before(folder / "gallery", archive, meta)
    result, _ = run([WAYS, "ours", str(folder / "gallery"), str(archive)], OURS)
    if result["images"] != size.unchanged:
        raise SystemExit(f"{result['images']} of {size.unchanged} files were found unchanged")
    yield Figure(f"second run over {size.unchanged} unchanged files", result["seconds"], "s", below=20)


def million(folder: Path, size: Size) -> Iterator[Figure]:
    """Measure a large gallery: what it takes on disk, and how long simple questions take."""
    from medsiglip_search.gallery import Gallery

    path = folder / "large"
    seconds, _ = _timed(lambda: large_gallery(path, size.rows, DIM))
    yield Figure(f"{size.rows} rows x {DIM}: commits of {COMMIT_ROWS} rows", size.rows / seconds, "rows/s")
    gallery = Gallery.open(path)
    yield Figure("with the versions of the last hour, on disk", gallery.size_bytes() / 1e9, "GB")
    with gallery.writer() as writer:
        writer.compact(keep=timedelta(0))
    yield Figure("compacted, on disk", gallery.size_bytes() / 1e9, "GB", below=2.6)
    yield Figure("open", _timed(lambda: len(Gallery.open(path)))[0], "s", below=2)
    for where in ("modality = 'CT' AND year = 2020", "modality = 'CT'", "year >= 2020"):
        seconds, ids = _timed(lambda where=where: gallery.select(where))
        yield Figure(f"select {where}: {len(ids)} rows", seconds, "s", below=0.2)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


SECTIONS: dict[str, Callable[[Path, Size], Iterator[Figure]]] = {
    "ratio": ratio,
    "growth": growth,
    "unchanged": unchanged,
    "million": million,
}


def _sections(names: Iterable[str], size: Size) -> Iterator[Iterator[Figure]]:
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            yield SECTIONS[name](Path(folder), size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="ratio, growth, ...; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="of the ratio")
    parser.add_argument("--pictures", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of files and rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw rate and memory over the long run")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no section {sorted(unknown)[0]}; there are {', '.join(SECTIONS)}")
    counts = (int(options.scale * count) for count in (3000, 1000, 20_000, 100_000, 1_000_000))
    size = Size(options.rounds, *counts, tuple(options.pictures))
    figures = report(_sections(options.sections or SECTIONS, size), LIBRARIES, options.json)
    if options.plot:
        from benchmarks.index_plot import draw

        draw(figures, options.plot)
    require_all(figures)


if __name__ == "__main__":
    main()
