"""The plots of a report, as SVG that stands inside the page and takes its colour of text."""

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from medsiglip_search.evaluate.labels import LabelFigures
from medsiglip_search.evaluate.resampling import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#3b7dd8", "#d97b29", "#2f9e6e", "#a05cc0", "#c94f5d", "#2aa3b0", "#8a8f2c", "#7a6a5d")
"""Of galleries and sources, in turn; told apart on black and on white."""

_TEXT = "#123457"
"""Stands for the page's colour of text until that is put in."""
_MOST_NUMBERED = 16
"""Labels of a confusion matrix whose cells have room for their numbers."""


def color(number: int) -> str:
    """Return the colour of a gallery or source."""
    return COLORS[number % len(COLORS)]


def curves(figures: Sequence[LabelFigures | None], title: str) -> str:
    """Return the ROC curve and the reliability diagram of one label, in the colours of their sources."""
    figure, (roc, reliability) = _axes(5.2, 2.6, 2)
    for number, one in enumerate(figures):
        if one is not None and one.roc is not None:
            roc.plot(*one.roc, color=color(number), linewidth=1.6)
        if one is not None and one.images:
            bins = one.reliability
            reliability.plot(bins.probability, bins.present, color=color(number), linewidth=1, alpha=0.6)
            sizes = 8 + 60 * bins.images / bins.images.sum()
            reliability.scatter(bins.probability, bins.present, sizes, color=color(number), linewidth=0)
    _unit_square(roc, "1 - specificity", "sensitivity")
    _unit_square(reliability, "probability", "share that shows it")
    return _svg(figure, f"ROC curve and reliability of {title}")


def intervals(
    labels: Sequence[str], panels: Sequence[tuple[str, Sequence[Sequence[Estimate | None]]]]
) -> str:
    """Return figures by label as dots with their intervals.

    panels: a title each, and for each source the figures of the labels; None where it has none.
    """
    count = max(1, max((len(sources) for _, sources in panels), default=1))
    height = 0.55 + len(labels) * max(0.2, 0.11 * count + 0.06)
    figure, axes = _axes(9.2, height, len(panels), sharey=True)
    rows = np.arange(len(labels))
    for axis, (title, sources) in zip(axes, panels, strict=True):
        for number, estimates in enumerate(sources):
            shift = (number - (len(sources) - 1) / 2) * 0.6 / len(sources)
            for row, estimate in zip(rows, estimates, strict=True):
                if estimate is None or np.isnan(estimate.value):
                    continue
                interval = estimate.interval
                axis.plot(
                    [interval.low, interval.high], [row + shift] * 2, color=color(number), linewidth=1.4
                )
                axis.plot([interval.value], [row + shift], "o", color=color(number), markersize=3.6)
        axis.set_title(title, fontsize=9, color=_TEXT)
        lowest = min((_lowest(one) for own in sources for one in own if one is not None), default=0.0)
        start = next(start for start in (0.9, 0.8, 0.5, 0.0) if start <= lowest or not start)
        axis.set_xlim(start, 1 + 0.012 * (1 - start))
        axis.set_xticks([start, (1 + start) / 2, 1], [f"{tick:g}" for tick in (start, (1 + start) / 2, 1)])
        axis.grid(axis="x", color=_TEXT, alpha=0.15, linewidth=0.6)
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(rows, [_shortened(label) for label in labels])
    axes[0].set_ylim(len(labels) - 0.4, -0.6)
    return _svg(figure, "Figures by label with their intervals")


def confusion(images: np.ndarray, true: Sequence[str], predicted: Sequence[str]) -> str:
    """Return how often images of each true label, a row, are taken for each label, a column."""
    side = min(11.0, max(3.2, 0.42 * len(predicted) + 1.8))
    figure, (axis,) = _axes(side, side * max(0.35, (len(true) + 3) / (len(predicted) + 3)), 1)
    shares = images / np.maximum(images.sum(axis=1, keepdims=True), 1)
    red, green, blue = (int(COLORS[0][place : place + 2], 16) / 255 for place in (1, 3, 5))
    cells = np.empty((*shares.shape, 4))
    cells[:] = red, green, blue, 0
    cells[..., 3] = 0.9 * shares
    axis.imshow(cells, interpolation="none", aspect="auto")
    size = 8 if len(predicted) <= _MOST_NUMBERED else 5.5
    axis.set_xticks(range(len(predicted)), [_shortened(name) for name in predicted], rotation=60, ha="right")
    axis.set_yticks(range(len(true)), [_shortened(name) for name in true])
    axis.tick_params(labelsize=size, length=0)
    axis.set_xlabel("taken for", color=_TEXT)
    axis.set_ylabel("true", color=_TEXT)
    if len(predicted) <= _MOST_NUMBERED:
        for (row, column), count in np.ndenumerate(images):
            if count:
                axis.text(column, row, str(count), ha="center", va="center", fontsize=8, color=_TEXT)
    return _svg(figure, "Confusion matrix")


def _axes(width: float, height: float, count: int, sharey: bool = False) -> "tuple[Figure, Sequence[Axes]]":
    """Return a figure, inches, with so many axes beside each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", wspace=0.06)
    axes = figure.subplots(1, count, squeeze=False, sharey=sharey)[0]
    for axis in axes:
        axis.patch.set_alpha(0)
        axis.tick_params(colors=_TEXT, labelsize=8, width=0.6)
        for place, spine in axis.spines.items():
            spine.set_visible(place in ("left", "bottom"))
            spine.set_color(_TEXT)
            spine.set_linewidth(0.6)
    return figure, axes


def _unit_square(axis: "Axes", across: str, up: str) -> None:
    axis.plot([0, 1], [0, 1], color=_TEXT, alpha=0.35, linewidth=0.8, linestyle=(0, (4, 3)))
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.set_xlabel(across, fontsize=8, color=_TEXT)
    axis.set_ylabel(up, fontsize=8, color=_TEXT)


def _svg(figure: "Figure", description: str) -> str:
    """Return the figure as an SVG element."""
    from html import escape

    import matplotlib as mpl

    # Text stays text, which the page's font writes; the salt makes equal plots equal files.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "plot"}):
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(_TEXT, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # A page has many of them: names such as axes_1, which nothing refers to, would be there twice.
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)


def _lowest(estimate: Estimate) -> float:
    """Return where a figure's interval begins; 1, where nothing is drawn."""
    interval = estimate.interval
    return float(np.nan_to_num(np.fmin(interval.low, interval.value), nan=1.0))


def _shortened(label: str) -> str:
    return label if len(label) <= 36 else label[:33] + "..."
