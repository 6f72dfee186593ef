"""Draws what `benchmarks.index growth` measured: rate and memory over a run."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure

WINDOW_S = 2.0


def draw(figures: Sequence[Figure], out: Path) -> None:
    """Draw the longest run among `figures` into an image file."""
    from matplotlib.figure import Figure as Canvas

    runs = [figure for figure in figures if figure.details and "memory" in figure.details]
    if not runs:
        raise SystemExit("nothing to draw: --plot goes with the section growth")
    run = max(runs, key=lambda figure: figure.details["progress"][-1][1])
    canvas = Canvas(figsize=(9, 5), layout="constrained")
    rates, memory = canvas.subplots(2, 1, sharex=True)
    rates.plot(*zip(*_rates(run.details["progress"]), strict=True), color="tab:blue")
    rates.set(ylabel="images/s", ylim=(0, None), title=run.name)
    samples = run.details["memory"]
    seconds = [sample["seconds"] for sample in samples]
    for name, label in (("tree_bytes", "all processes"), ("parent_bytes", "its own process")):
        memory.plot(seconds, [sample[name] / 1e6 for sample in samples], label=label)
    memory.set(xlabel="seconds", ylabel="memory in MB", ylim=(0, None))
    memory.legend(loc="lower right")
    for axes in (rates, memory):
        axes.grid(alpha=0.3)
    canvas.savefig(out, dpi=120)


def _rates(progress: Sequence[Any]) -> list[tuple[float, float]]:
    """Return the time and the rate, files a second, in windows of WINDOW_S."""
    marks = [progress[0]]
    for mark in progress[1:]:
        if mark[0] - marks[-1][0] >= WINDOW_S:
            marks.append(mark)
    return [((a[0] + b[0]) / 2, (b[1] - a[1]) / (b[0] - a[0])) for a, b in pairwise(marks)]
