"""The page of a report: one HTML file that asks for nothing else."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsiglip_search.evaluate import plots
from medsiglip_search.evaluate.report import DEFINITIONS, DISCLAIMER, Row, What, rows
from medsiglip_search.evaluate.resampling import Estimate
from medsiglip_search.evaluate.run import Evaluation
from medsiglip_search.evaluate.table import TITLES, figure_text, heading, shown, source_of

TEMPLATE = Path(__file__).with_name("page.html")
MOST_OPEN = 30
"""Labels whose curves are shown without asking; of more they are folded away."""
_PANELS = ("auc", "sensitivity", "specificity")
_COUNTS: Mapping[What, tuple[tuple[str, str], ...]] = {
    "labels": (("images", "images"), ("present", "present"), ("patients", "patients")),
    "together": (("images", "images"),),
    "by_text": (("present", "present"),),
    "by_image": (("queries", "queries"), ("present", "present")),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure as it is shown, and its difference to the first.

    certain: whether the interval of the difference leaves out 0.
    """

    value: str
    interval: str
    difference: str = ""
    difference_interval: str = ""
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table. first: whether it is the first of its label, which takes as many rows as `span`."""

    label: str
    first: bool
    span: int
    source: str
    color: str
    counts: tuple[str, ...]
    cells: tuple[Cell, ...]
    note: str
    is_mean: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A table of one kind of figures. headings: a title and what it means, each."""

    title: str
    counts: tuple[str, ...]
    headings: tuple[tuple[str, str], ...]
    lines: tuple[Line, ...]


def page(evaluation: Evaluation, report: Mapping[str, Any]) -> str:
    """Return the page. report: as `report_json` gives it."""
    from jinja2 import Environment, StrictUndefined

    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made = rows(evaluation)
    results = [(side.side, result) for side in evaluation.sides for result in side.columns]
    names = [_name(made, side.name, result.column.labels.name) for side, result in results]
    colors = _colors(evaluation)
    tables = {
        what: _table(of_kind, what, colors, evaluation.settings.top_k)
        for what in TITLES
        if (of_kind := _of(made, what))
    }
    cards = _cards(evaluation)
    return template.from_string(TEMPLATE.read_text("utf-8")).render(
        report=report,
        notice=DISCLAIMER,
        sources=[(name, plots.color(number)) for number, name in enumerate(names) if len(names) > 1],
        tables=tables,
        intervals=_intervals(made, len(results)),
        cards=cards,
        folded=len(cards) > MOST_OPEN,
        confusions=[
            (
                name,
                plots.confusion(
                    together.confusion, [one.label for one in result.labels.labels], together.predicted
                ),
            )
            for name, (_, result) in zip(names, results, strict=True)
            if (together := result.labels.overall) is not None
        ],
        definitions=_definitions(tables, evaluation.settings.top_k),
    )


def _of(rows: Sequence[Row], what: What) -> list[Row]:
    return [row for row in rows if row.what == what]


def _name(rows: Sequence[Row], gallery: str, labels: str) -> str:
    """Return what a gallery and a source are told apart by."""
    of_labels = _of(rows, "labels")
    own = next(row for row in of_labels if (row.gallery, row.labels) == (gallery, labels))
    return source_of(own, of_labels)


def _colors(evaluation: Evaluation) -> dict[tuple[str, str | None], str]:
    """Return the colour of each gallery with each source, and of a gallery alone that of its first."""
    colors: dict[tuple[str, str | None], str] = {}
    number = 0
    for side in evaluation.sides:
        colors[side.side.name, None] = plots.color(number)
        for result in side.columns:
            colors[side.side.name, result.column.labels.name] = plots.color(number)
            number += 1
        number += not side.columns
    return colors


def _table(
    rows: Sequence[Row], what: What, colors: Mapping[tuple[str, str | None], str], top_k: int
) -> Table:
    """Return a table of rows of one kind, means first."""
    names = shown(rows)
    lines = []
    for label in sorted(dict.fromkeys(row.label for row in rows), key=lambda label: label is not None):
        own = [row for row in rows if row.label == label]
        for number, row in enumerate(own):
            lines.append(
                Line(
                    label=label if label is not None else "all together" if what == "together" else "mean",
                    first=number == 0,
                    span=len(own),
                    source=source_of(row, rows),
                    color=colors[row.gallery, row.labels],
                    counts=tuple(str(row.counts.get(name, "")) for name, _ in _COUNTS[what]),
                    cells=tuple(_cell(row, name) for name in names),
                    note=row.undefined or "",
                    is_mean=label is None,
                )
            )
    return Table(
        TITLES[what],
        tuple(title for _, title in _COUNTS[what]),
        tuple((heading(name, what, top_k), DEFINITIONS[what][name]) for name in names),
        tuple(lines),
    )


def _cell(row: Row, name: str) -> Cell:
    value, _, interval = figure_text(row.figures[name]).partition(" ")
    if row.difference is None:
        return Cell(value, interval)
    less = row.difference[name]
    if math.isnan(less.value):
        return Cell(value, interval)
    bounds = less.interval
    more, _, where = figure_text(less, signed=True).partition(" ")
    return Cell(value, interval, more, where, certain=bounds.low > 0 or bounds.high < 0)


def _intervals(rows: Sequence[Row], sources: int) -> str | None:
    """Return the plot of figures by label."""
    of_labels = [row for row in _of(rows, "labels") if row.label is not None]
    if not of_labels:
        return None
    labels = list(dict.fromkeys(str(row.label) for row in of_labels))
    by_source: dict[tuple[str, str | None], dict[str | None, Row]] = {}
    for row in of_labels:
        by_source.setdefault((row.gallery, row.labels), {})[row.label] = row

    def figures(name: str) -> list[list[Estimate | None]]:
        return [
            [own[label].figures[name] if label in own else None for label in labels]
            for own in by_source.values()
        ]

    return plots.intervals(labels, [(heading(name, "labels", 0), figures(name)) for name in _PANELS])


def _cards(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Return each label with its first AUC and its curves, those of all galleries and sources together."""
    found = [
        {one.label: one for one in result.labels.labels}
        for side in evaluation.sides
        for result in side.columns
    ]
    labels = dict.fromkeys(label for own in found for label in own)
    cards = []
    for label in labels:
        own = [figures.get(label) for figures in found]
        auc = next(figure_text(one.figures["auc"]) for one in own if one is not None)
        cards.append((label, auc, plots.curves(own, label)))
    return cards


def _definitions(tables: Mapping[What, Table], top_k: int) -> list[tuple[str, str]]:
    """Return what stands over columns with what it means, once each."""
    meanings: dict[str, str] = {}
    for what, table in tables.items():
        for title, text in table.headings:
            own = title if meanings.get(title, text) == text else f"{title}, {what.replace('_', ' ')}"
            meanings[own] = text
    return [(title, text.replace("first k", f"first {top_k}")) for title, text in meanings.items()]
