"""Draws what `benchmarks.search` measured: latency over rows, and recall over speed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure


def draw(figures: Sequence[Figure], out: Path) -> None:
    """Draw the sections rows and hnsw into an image file."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(10, 4.5), layout="constrained")
    over_rows, over_speed = canvas.subplots(1, 2)
    for kind, points in _latencies(figures).items():
        over_rows.loglog(*zip(*sorted(points), strict=True), marker="o", label=kind)
    over_rows.set(xlabel="rows", ylabel="one query, ms", title="Latency")
    for name, points in _recalls(figures).items():
        over_speed.semilogx(*zip(*sorted(points), strict=True), marker="o", label=name)
    over_speed.set(xlabel="queries a second, one by one", ylabel="recall of the ten best", title="Recall")
    for axes in (over_rows, over_speed):
        axes.grid(alpha=0.3)
        axes.legend()
    canvas.savefig(out, dpi=120)


def _latencies(figures: Iterable[Figure]) -> Mapping[str, list[tuple[float, float]]]:
    found = defaultdict(list)
    for figure in figures:
        if figure.details and "rows" in figure.details:
            found[figure.details["kind"]].append((figure.details["rows"], figure.value))
    return found


def _recalls(figures: Iterable[Figure]) -> Mapping[str, list[tuple[float, float]]]:
    details: Any = next((one.details for one in figures if one.details and "hnsw" in one.details), None)
    if details is None:
        raise SystemExit("nothing to draw: --plot goes with the sections rows and hnsw")
    return {
        "FAISS HNSW, float32": [(one["single_qps"], one["recall"]) for one in details["hnsw"]],
        "ivf, on the queries it is tuned with": [
            (1 / one["seconds"], one["recall_images"]) for one in details["settings"]
        ],
        "ivf, as tuned, on others": [(one["single_qps"], one["recall"]) for one in details["ivf"]],
    }
