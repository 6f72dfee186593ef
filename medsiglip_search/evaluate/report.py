"""An evaluation as rows, one for each label, and as JSON."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from medsiglip_search import __version__
from medsiglip_search.evaluate import labels, retrieval
from medsiglip_search.evaluate.comparison import Joining
from medsiglip_search.evaluate.resampling import CONFIDENCE, Estimate
from medsiglip_search.evaluate.retrieval import Retrieval
from medsiglip_search.evaluate.run import ColumnResult, Evaluation, SideResult
from medsiglip_search.files import digest

FORMAT_VERSION = 1
DISCLAIMER = (
    "Research software, not a medical device. The figures are of these images; on others they differ."
)

What = Literal["labels", "together", "by_text", "by_image"]
DEFINITIONS: Mapping[What, Mapping[str, str]] = {
    "labels": labels.FIGURES,
    "together": labels.OVERALL,
    "by_text": retrieval.FIGURES,
    "by_image": retrieval.FIGURES,
}


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Figures of one label, or their means over all (label None).

    what: "labels", "together" (exclusive labels as one), "by_text" or "by_image" (search). labels: their
    source; None for search by image. counts: what they are of. difference: to the same row of the first
    gallery and source, from the very same resamples.
    """

    gallery: str
    labels: str | None
    what: What
    label: str | None
    counts: Mapping[str, int | float]
    figures: Mapping[str, Estimate]
    undefined: str | None = None
    difference: Mapping[str, Estimate] | None = None


def rows(evaluation: Evaluation) -> list[Row]:
    """Return all figures, gallery by gallery, source by source."""
    made: list[Row] = []
    first: dict[tuple[What, str | None], Row] = {}
    found = [row for side in evaluation.sides for row in _rows_of(side)]
    labels_of: dict[tuple[str, str | None, What], set[str]] = {}
    for row in found:
        labels_of.setdefault(_source(row), set()).add(row.label or "")
    for row in found:
        other = first.setdefault((row.what, row.label), row)
        # Means over other labels say nothing of each other.
        alike = row.label is not None or labels_of[_source(row)] == labels_of[_source(other)]
        if other is not row and alike:
            less = {name: own.minus(other.figures[name]) for name, own in row.figures.items()}
            row = replace(row, difference=less)
        made.append(row)
    return made


def _source(row: Row) -> tuple[str, str | None, What]:
    return row.gallery, row.labels, row.what


def _rows_of(side: SideResult) -> Iterator[Row]:
    for result in side.columns:
        yield from _label_rows(side.side.name, result)
        if result.by_text is not None:
            yield from _retrieval_rows(side.side.name, result.column.labels.name, "by_text", result.by_text)
    if side.by_image is not None:
        yield from _retrieval_rows(side.side.name, None, "by_image", side.by_image)


def _label_rows(gallery: str, result: ColumnResult) -> Iterator[Row]:
    name = result.column.labels.name
    for label in result.labels.labels:
        counts = {
            "images": label.images,
            "present": label.positives,
            "patients": label.patients,
            "threshold": label.threshold,
        }
        yield Row(gallery, name, "labels", label.label, counts, label.figures, label.undefined)
    yield Row(gallery, name, "labels", None, {"averaged": len(result.labels.labels)}, result.labels.macro)
    if (together := result.labels.overall) is not None:
        yield Row(gallery, name, "together", None, {"images": together.images}, together.figures)


def _retrieval_rows(gallery: str, labels: str | None, what: What, found: Retrieval) -> Iterator[Row]:
    for one in found.findings:
        counts = {"queries": one.queries, "without": one.without, "present": one.relevant}
        undefined = None if one.queries else "no query has a relevant image to find"
        yield Row(gallery, labels, what, one.finding, counts, one.figures, undefined)
    yield Row(gallery, labels, what, None, {"averaged": len(found.findings)}, found.macro)


def row_json(row: Row) -> dict[str, Any]:
    """Return a row as JSON takes it; None for what is undefined."""
    return {
        "gallery": row.gallery,
        "labels": row.labels,
        "what": row.what,
        "label": row.label,
        **row.counts,
        **{name: _interval(estimate) for name, estimate in row.figures.items()},
        "undefined": row.undefined,
        "difference": row.difference
        and {name: _interval(estimate) for name, estimate in row.difference.items()},
    }


def report_json(evaluation: Evaluation, joining: Joining) -> dict[str, Any]:
    """Return everything that is known of an evaluation, as JSON takes it."""
    table = evaluation.table
    return {
        "format_version": FORMAT_VERSION,
        "notice": DISCLAIMER,
        "made_by": f"medsiglip-search {__version__}",
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "warnings": list(evaluation.warnings),
        "notes": list(evaluation.notes),
        "truth": {
            "file": table.path.name,
            "sha256": table.digest,
            **asdict(joining),
            "unknown": list(evaluation.sides[0].side.truth.unknown),
        },
        "images": evaluation.images,
        "patients": evaluation.patients,
        "queries": evaluation.queries,
        "settings": asdict(evaluation.settings),
        "confidence": CONFIDENCE,
        "definitions": {what: dict(texts) for what, texts in DEFINITIONS.items()},
        "galleries": [_gallery(side) for side in evaluation.sides],
        "labels": [_labels(side, result) for side in evaluation.sides for result in side.columns],
        "figures": [row_json(row) for row in rows(evaluation)],
    }


def _gallery(side: SideResult) -> dict[str, Any]:
    gallery = side.side.gallery
    return {
        "name": side.side.name,
        "path": str(gallery.path),
        "images": len(gallery),
        "version": gallery.version,
        "archives": list(side.side.archives),
        **asdict(gallery.meta),
    }


def _labels(side: SideResult, result: ColumnResult) -> dict[str, Any]:
    """Return where labels come from, and what is drawn of them."""
    labels = result.column.labels
    classifier, calibration = labels.labeller.classifier, labels.labeller.calibration
    fitted = None
    if labels.calibration is not None and calibration is not None:
        fitted = {
            "file": labels.calibration.name,
            "sha256": digest(labels.calibration),
            "sensitivity": calibration.sensitivity,
            "abstain_level": calibration.abstain_level,
            "fitted_on": asdict(calibration.fitted_on),
        }
    together = result.labels.overall
    return {
        "gallery": side.side.name,
        "name": labels.name,
        "source": labels.source,
        "kind": classifier.kind,
        "mode": classifier.mode,
        "digest": classifier.digest,
        "label_set": labels.label_set and asdict(labels.label_set),
        "trained_on": labels.trained_on and asdict(labels.trained_on),
        "calibration": fitted,
        "curves": [
            {
                "label": label.label,
                "false_positive_rate": None if label.roc is None else label.roc[0].tolist(),
                "true_positive_rate": None if label.roc is None else label.roc[1].tolist(),
                "reliability": {
                    "images": label.reliability.images.tolist(),
                    "mean_probability": label.reliability.probability.tolist(),
                    "share_present": label.reliability.present.tolist(),
                },
            }
            for label in result.labels.labels
        ],
        "confusion": together
        and {
            "true": [label.label for label in result.labels.labels],
            "predicted": list(together.predicted),
            "images": together.confusion.tolist(),
        },
    }


def _interval(estimate: Estimate) -> dict[str, float | int | None]:
    interval = asdict(estimate.interval)
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in interval.items()
    }
