"""Figures as people read them, and the table that the command prints."""

import math
from collections.abc import Iterator, Mapping, Sequence

from medsiglip_search.evaluate.report import Row, What
from medsiglip_search.evaluate.resampling import Estimate

TITLES: Mapping[What, str] = {
    "labels": "Labels",
    "together": "The likeliest label of each image",
    "by_text": "Search by the words of a label",
    "by_image": "Search by an image, for those of other patients",
}
HEADINGS = {
    "auc": "AUC",
    "average_precision": "AP",
    "f1": "F1",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "calibration_error": "ECE",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "abstained": "abstained",
    "kept_right": "kept right",
    "precision_at_k": "P@k",
    "recall_at_k": "recall@k",
    "ndcg": "nDCG",
}
UNDEFINED = "undefined"


def heading(name: str, what: What, top_k: int) -> str:
    """Return what stands over a column of figures."""
    if what in ("by_text", "by_image") and name == "average_precision":
        return "mAP" if what == "by_image" else "AP"
    return HEADINGS[name].replace("@k", f"@{top_k}")


def shown(rows: Sequence[Row]) -> list[str]:
    """Return the figures to show of these rows of one kind; abstaining only where there is any."""
    abstains = any(row.figures["abstained"].value > 0 for row in rows if "abstained" in row.figures)
    return [name for name in rows[0].figures if abstains or name not in ("abstained", "kept_right")]


def source_of(row: Row, rows: Sequence[Row]) -> str:
    """Return what tells a row from those of other galleries and sources; "" if there are none."""
    several = [
        name
        for name, others in (
            (row.gallery, {other.gallery for other in rows}),
            (row.labels, {other.labels for other in rows}),
        )
        if len(others) > 1 and name is not None
    ]
    return ", ".join(several)


def figure_text(estimate: Estimate, signed: bool = False) -> str:
    """Return a figure with its interval: 0.912 (.887-.934), or +0.012 (-.003 to +.027) for a difference."""
    interval = estimate.interval
    if math.isnan(interval.value):
        return UNDEFINED
    value = f"{interval.value:{'+' if signed else ''}.3f}"
    if math.isnan(interval.low):
        return value
    low, high = (_short(bound, signed) for bound in (interval.low, interval.high))
    return f"{value} ({low}{' to ' if signed else '-'}{high})"


def _short(bound: float, signed: bool) -> str:
    return f"{bound:{'+' if signed else ''}.3f}".replace("0.", ".", 1)


def cells(rows: Sequence[Row], top_k: int) -> Iterator[tuple[What, list[tuple[str, ...]]]]:
    """Yield what each kind of figures is of, with its table's cells under a header."""
    for what in TITLES:
        if of_kind := [row for row in rows if row.what == what]:
            yield what, _cells(of_kind, what, top_k)


def _cells(rows: Sequence[Row], what: What, top_k: int) -> list[tuple[str, ...]]:
    names = shown(rows)
    sources = [source_of(row, rows) for row in rows]
    count = {"by_image": "queries", "together": "images"}.get(what, "present")
    header = ["", *([""] if any(sources) else []), count, *(heading(name, what, top_k) for name in names)]
    table = [tuple(header)]
    for label in dict.fromkeys(row.label for row in rows):
        for row, source in zip(rows, sources, strict=True):
            if row.label != label:
                continue
            word = label if label is not None else "all together" if what == "together" else "mean"
            first = [word, *([source] if any(sources) else []), str(row.counts.get(count, ""))]
            table.append((*first, *(figure_text(row.figures[name]) for name in names)))
            if row.difference is not None:
                less = [figure_text(row.difference[name], signed=True) for name in names]
                table.append(("", *(["  less the first"] if any(sources) else []), "", *less))
    return table
