"""Draws what `benchmarks.encode` measured: pictures a second, what bounds them, and what is lost."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.encode_images import FP32_LOOP
from benchmarks.figures import Figure

EXACT = 1e-8


def draw(figures: Sequence[Figure], out: Path) -> None:
    """Draw the sections bound, images and files into an image file, as far as they were measured."""
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import NullFormatter

    rates = _rates(figures)
    if not rates:
        raise SystemExit("nothing to draw: --plot goes with the sections images and files")
    canvas = Canvas(figsize=(12, 1.8 + 0.4 * len(rates)), layout="constrained")
    speed, truth = canvas.subplots(1, 2)
    names = list(rates)[::-1]
    bars = speed.barh(names, [rates[name] for name in names], color=[_colour(name) for name in names])
    speed.bar_label(bars, fmt="%.3g", padding=3)
    for number, (name, rate) in enumerate(_bounds(figures).items()):
        speed.axvline(rate, color=f"C{number + 3}", linestyle="--", label=f"{name}: {rate:.3g}")
    speed.set(xscale="log", xlabel="pictures a second", title="Speed, and what bounds it")
    speed.xaxis.set_minor_formatter(NullFormatter())
    speed.xaxis.set_major_formatter("{x:g}")
    speed.margins(x=0.15)
    speed.grid(alpha=0.3, axis="x")
    if _bounds(figures):
        speed.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    _draw_truth(truth, figures)
    canvas.savefig(out, dpi=120)


def _draw_truth(axes: Any, figures: Sequence[Figure]) -> None:
    details = [one.details for one in figures if one.details and "cosine" in one.details][::-1]
    names = [one["way"] for one in details]
    lost = [max(EXACT, 1 - one["cosine"]) for one in details]
    axes.barh(names, lost, color=[_colour(name) for name in names])
    for place, one in enumerate(details):
        if one["at_least"] is not None:
            axes.plot([1 - one["at_least"]] * 2, [place - 0.4, place + 0.4], color="black", linewidth=2)
    axes.set(xscale="log", xlabel="1 - least cosine; line: the most that it may be")
    axes.set(title="What is lost beside SiglipModel in float32")
    axes.grid(alpha=0.3, axis="x")


def _rates(figures: Sequence[Figure]) -> dict[str, float]:
    """Return pictures a second by way; of AutoModel's loop over all rounds in which it was done."""
    details = [one.details for one in figures if one.details and "seconds" in one.details]
    found = {one["way"]: 1 / median(one["seconds"]) for one in details}
    loops = [taken for one in details for taken in one.get("loop", [])]
    return found | ({FP32_LOOP: 1 / median(loops)} if loops else {})


def _bounds(figures: Sequence[Figure]) -> dict[str, float]:
    return {one.details["bound"]: one.value for one in figures if one.details and "bound" in one.details}


def _colour(name: str) -> str:
    return "C0" if name.startswith(("ours", "torch alone", "indexing")) else "C7"
