"""How fast files become pictures, beside the bare decoders on the same files: `python -m benchmarks.read`.

A bare decoder is pydicom's `dcmread(path).pixel_array`, or `np.asarray(Image.open(path).convert("RGB"))` with
Pillow. Ours makes RGB of all frames: in this process, and through the guard with one and two workers. All
four are measured in turn, round after round; the figures are medians.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.read_files import Sample, read_all, samples
from medsiglip_search.images.guard import Guard, Limits

LEAST_SECONDS = 0.1
LIBRARIES = ("pillow", "pydicom", "imagecodecs", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls", "numpy")


@dataclass(frozen=True, slots=True)
class Line:
    """Medians for one kind of file, in seconds a file.

    two_workers_s: for one of many files, of which two are read at a time.
    """

    kind: str
    megapixels: float
    kilobytes: float
    bare_s: float
    ours_s: float
    one_worker_s: float
    two_workers_s: float

    @property
    def ratio(self) -> float:
        """Our rate over the bare decoder's."""
        return self.bare_s / self.ours_s

    @property
    def worker_ratio(self) -> float:
        """One worker's rate over the bare decoder's."""
        return self.bare_s / self.one_worker_s

    @property
    def factor(self) -> float:
        """The rate of two workers over that of one."""
        return self.one_worker_s / self.two_workers_s


def measured(files: list[Sample], rounds: int) -> list[Line]:
    """Return a line for each file."""
    with Guard(1, Limits(timeout_s=60)) as one, Guard(2, Limits(timeout_s=60)) as two:
        for guard in (one, two):
            _read_in_workers(guard, [file.path for file in files] * 2)  # started, and warm
        ways = [_ways(file, one, two) for file in files]
        repeats = [_repeats(file) for file in files]
        seconds: list[list[list[float]]] = [[[] for _ in way] for way in ways]
        for _ in range(rounds):
            for place, way in enumerate(ways):
                for column, run in enumerate(way):
                    started = time.perf_counter()
                    run(repeats[place])
                    seconds[place][column].append((time.perf_counter() - started) / repeats[place])
    return [
        Line(file.kind, file.pixels / 1e6, file.path.stat().st_size / 1e3, *map(median, columns))
        for file, columns in zip(files, seconds, strict=True)
    ]


def _ways(file: Sample, one: Guard, two: Guard) -> list[Callable[[int], None]]:
    """Return what reads the file so many times: barely, ours, with one worker, with two."""

    def barely(repeats: int) -> None:
        for _ in range(repeats):
            file.read_barely(file.path)

    def ours(repeats: int) -> None:
        for _ in range(repeats):
            for _ in read_all(str(file.path)):
                pass

    return [
        barely,
        ours,
        lambda repeats: _read_in_workers(one, [file.path] * repeats),
        lambda repeats: _read_in_workers(two, [file.path] * repeats),
    ]


def _read_in_workers(guard: Guard, paths: Iterable[Path]) -> None:
    def read(path: Path) -> None:
        for _ in guard.run(read_all, str(path)):
            pass

    with ThreadPoolExecutor(guard.workers) as threads:
        list(threads.map(read, paths))


def _repeats(file: Sample) -> int:
    """Return how often to read a file at a stretch: an even number, so that two workers share it evenly."""
    file.read_barely(file.path)
    started = time.perf_counter()
    file.read_barely(file.path)
    return 2 * max(2, round(LEAST_SECONDS / 2 / (time.perf_counter() - started)))


def whole(lines: list[Line]) -> Line:
    """Return the line of all files read once."""
    megapixels, kilobytes, *seconds = (
        sum(getattr(line, name) for line in lines)
        for name in ("megapixels", "kilobytes", "bare_s", "ours_s", "one_worker_s", "two_workers_s")
    )
    return Line("all", megapixels, kilobytes, *seconds)


def table(lines: list[Line]) -> str:
    rows = [
        f"{'':28}{'MP':>6}{'kB':>8}{'bare ms':>9}{'ours ms':>9}{'ratio':>7}"
        f"{'worker ms':>11}{'ratio':>7}{'two':>7}"
    ]
    for line in [*lines, whole(lines)]:
        rows.append(
            f"{line.kind:28}{line.megapixels:6.1f}{line.kilobytes:8.0f}{1000 * line.bare_s:9.2f}"
            f"{1000 * line.ours_s:9.2f}{line.ratio:7.2f}{1000 * line.one_worker_s:11.2f}"
            f"{line.worker_ratio:7.2f}{line.factor:6.2f}x"
        )
    return "\n".join(rows)


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    versions = {library: importlib.metadata.version(library) for library in LIBRARIES}
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        **versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    about = machine()
    with tempfile.TemporaryDirectory() as folder:
        lines = measured(samples(Path(folder)), options.rounds)
    print(table(lines))
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    if options.json:
        rows = [
            {**asdict(line), "ratio": line.ratio, "worker_ratio": line.worker_ratio, "factor": line.factor}
            for line in [*lines, whole(lines)]
        ]
        options.json.write_text(
            json.dumps({"machine": about, "rounds": options.rounds, "lines": rows}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
